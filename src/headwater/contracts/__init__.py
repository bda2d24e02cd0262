"""The data contract: its model, its ODCS form, and the validator it compiles into."""
