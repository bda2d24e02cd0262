"""What is done regularly: events relayed, snapshots reconciled, the audit log and the ledger checked."""
