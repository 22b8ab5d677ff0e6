"""The site: `make docs` builds these pages into build/site, and stops at any warning."""

project = "logratio"
html_title = "logratio"
author = "the logratio authors"
extensions = ["myst_parser"]
exclude_patterns = ["images"]
myst_heading_anchors = 3
nitpicky = True
html_theme = "furo"
html_show_sourcelink = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "monokai"
smartquotes = False
