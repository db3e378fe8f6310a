"""The status page at `/`, a page for each service, and what keeps both live.

Import it only when somebody looks: most daemons are only scraped.
"""
