"""The command line: one short file per verb, each imported only when it is used."""
