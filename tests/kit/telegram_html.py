"""What the Bot API does with parse_mode=HTML: the same refusals in the same words, and the text that is left.

The behaviour is that of parse_html in tdlib (td/telegram/MessageEntity.cpp), which the Bot API server is built on. Two
surprises: `&` that starts no known entity is kept as it is, no error; and byte offsets are counted in UTF-8.
"""

import re

TAGS = frozenset(
    ("a", "b", "strong", "i", "em", "s", "strike", "del", "u", "ins", "span", "pre", "code", "blockquote")
) | {"tg-spoiler", "tg-emoji"}
SPACE = r"[ \t\r\n\v\0]"
NOT_SPACE = r"[^ \t\r\n\v\0"
ENTITY = re.compile(r"&(?:#x(?P<hex>[0-9A-Fa-f]+)|#(?P<decimal>[0-9]+)|(?P<name>lt|gt|amp|quot)(?![A-Za-z]));?")
NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
TAG_NAME = re.compile(rf"{NOT_SPACE}>]*")
ATTRIBUTE_NAME = re.compile(rf"{NOT_SPACE}=>]*")
ATTRIBUTE_VALUE = re.compile(r""""(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<token>[A-Za-z0-9.-]*)""")
SPACES = re.compile(rf"{SPACE}*")


class MarkupError(ValueError):
    """The markup is refused; the text is what follows "can't parse entities: "."""


def strip_markup(markup: str) -> str:
    """Return the text that is shown for the markup.

    Raises MarkupError when the Bot API would refuse it.
    """
    parts: list[str] = []
    open_tags: list[str] = []
    position = 0
    while (start := markup.find("<", position)) >= 0:
        parts.append(unescape(markup[position:start]))
        read_tag = _read_end_tag if markup.startswith("</", start) else _read_start_tag
        position = read_tag(markup, start, open_tags)
    parts.append(unescape(markup[position:]))
    if open_tags:
        raise MarkupError(f'Can\'t find end tag corresponding to start tag "{open_tags[-1]}"')
    return _require_characters("".join(parts))


def unescape(text: str) -> str:
    """Replace the entities the Bot API knows; anything else that starts with & stays."""
    return ENTITY.sub(_decode_entity, text)


def _decode_entity(match: re.Match[str]) -> str:
    if match["name"]:
        return NAMED[match["name"]]
    code = int(match["hex"], 16) if match["hex"] else int(match["decimal"])
    length = len(match[0].removesuffix(";"))
    return match[0] if code == 0 or code >= 0x10FFFF or length >= 10 else chr(code)


def _require_characters(text: str) -> str:
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise MarkupError(
            "Text contains invalid Unicode characters after decoding HTML entities, "
            "check for unmatched surrogate code units"
        )
    return text


def _read_start_tag(markup: str, start: int, open_tags: list[str]) -> int:
    """Open the tag that begins at start and return the position after it."""
    name = TAG_NAME.match(markup, start + 1)
    assert name is not None
    tag, offset = name[0].lower(), _byte_offset(markup, start)
    if name.end() == len(markup):
        raise MarkupError(f"Unclosed start tag at byte offset {offset}")
    if tag not in TAGS:
        raise MarkupError(f'Unsupported start tag "{tag}" at byte offset {offset}')
    attributes, end = _read_attributes(markup, name.end(), tag, offset)
    if tag == "span" and attributes.get("class") != "tg-spoiler":
        raise MarkupError(f'Tag "span" must have class "tg-spoiler" at byte offset {offset}')
    open_tags.append(tag)
    return end


def _read_attributes(markup: str, position: int, tag: str, offset: int) -> tuple[dict[str, str], int]:
    """Return the attributes of a tag and the position after its closing bracket."""
    attributes: dict[str, str] = {}
    while True:
        position = _skip_spaces(markup, position)
        if position == len(markup):
            raise MarkupError(f"Unclosed start tag at byte offset {offset}")
        if markup[position] == ">":
            return attributes, position + 1
        name = ATTRIBUTE_NAME.match(markup, position)
        if not name or not name[0]:
            raise MarkupError(f'Empty attribute name in the tag "{tag}" at byte offset {offset}')
        position = _skip_spaces(markup, name.end())
        if markup.startswith("=", position):
            attributes[name[0]], position = _read_value(markup, _skip_spaces(markup, position + 1), offset)


def _read_value(markup: str, position: int, offset: int) -> tuple[str, int]:
    """Return an attribute's value and the position after it."""
    value = ATTRIBUTE_VALUE.match(markup, position)
    assert value is not None
    if value.end() == len(markup) or (value["token"] == "" and markup[position] in "\"'"):
        raise MarkupError(f"Unclosed start tag at byte offset {offset}")
    if value["token"] is None:
        return unescape(value["double"] if value["double"] is not None else value["single"]), value.end()
    if not re.match(rf"{SPACE}|>", markup[value.end() :]):
        raise MarkupError(f"Unexpected end of name token at byte offset {_byte_offset(markup, position)}")
    return value["token"].lower(), value.end()


def _read_end_tag(markup: str, start: int, open_tags: list[str]) -> int:
    """Close the innermost open tag and return the position after the end tag."""
    offset = _byte_offset(markup, start)
    if not open_tags:
        raise MarkupError(f"Unexpected end tag at byte offset {offset}")
    name = TAG_NAME.match(markup, start + 2)
    assert name is not None
    position = _skip_spaces(markup, name.end())
    if not markup.startswith(">", position):
        raise MarkupError(f"Unclosed end tag at byte offset {offset}")
    found, expected = name[0].lower(), open_tags.pop()
    if found and found != expected:
        raise MarkupError(f'Unmatched end tag at byte offset {offset}, expected "</{expected}>", found "</{found}>"')
    return position + 1


def _skip_spaces(markup: str, position: int) -> int:
    match = SPACES.match(markup, position)
    assert match is not None
    return match.end()


def _byte_offset(markup: str, position: int) -> int:
    return len(markup[:position].encode())
