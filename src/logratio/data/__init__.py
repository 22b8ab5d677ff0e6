"""From files to groups: rows, records, templates, tokens."""
