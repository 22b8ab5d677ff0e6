"""A person as judge: two responses, blind, on a page that only this machine serves."""
