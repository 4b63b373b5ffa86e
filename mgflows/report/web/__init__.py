"""The live view: read-only pages of the database for a browser (``mgflows serve``).

:func:`~mgflows.report.web.app.create_app` makes the application, a Flask one that any WSGI server
can run; :func:`~mgflows.report.web.server.open_server` binds it to an address.
"""

from __future__ import annotations
