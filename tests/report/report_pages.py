"""A page taken apart, and what a hostile data set would plant in one."""

from html.parser import HTMLParser

HOSTILE = (
    "<script>window.planted = 1</script><img src=x onerror='window.planted = 2'><svg onload='window.planted = 3'>"
    "<a href='javascript:window.planted=4'>x</a><link rel=stylesheet href='https://planted.example/x.css'>"
    "<img src='https://planted.example/x.png'>'\"><b onfocus=window.planted=5 autofocus tabindex=1>"
    "</script><script>window.planted=6</script></title></style></textarea></template>$$\\href{javascript:x}{y}$$"
    "\u202etxt.exe\u202c \u2066i \ud800 \x00 \ufeff"
)


class Page(HTMLParser):
    """Elements, attributes and texts of a page, scripts and style apart."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts, self.scripts, self._inside = [], [], [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())
