"""The daily report: gathered once (gather.py), put into sections (sections/), and written out for each reader.

Gathering touches the host; everything after it is pure. A new line of the report is a `Row` in one of the sections,
and then in the terminal, in Telegram and in the e-mail alike.
"""
