"""The page in the browser: its server, and in `static` the page itself.

Needs Starlette and uvicorn, the extra `web`; only `wecromcl web` imports it.
"""
