"""The process beside each inference worker that logs and profiles what was predicted.

The worker ships what it knows in frames over a socket pair and computes nothing; the sidecar writes the prediction log
through the journal and the profiles of every minute into the home. It has no port, and ends with its worker.
"""
