"""The application: routes, headers and error pages."""

from __future__ import annotations

from importlib import resources
from typing import IO, TYPE_CHECKING

import flask
import jinja2
from pymongo.errors import PyMongoError
from werkzeug.exceptions import HTTPException

import mgflows
from mgflows.database.validations import validation_progress
from mgflows.errors import InputError, MgflowsError, mask_credentials
from mgflows.report.page import formula_parts
from mgflows.report.web import pages
from mgflows.report.web.access import Access
from mgflows.report.web.downloads import dataset_archive, potential_archive
from mgflows.report.web.reports import Reports
from mgflows.report.web.structures import list_structures, load_structure, xyz_text
from mgflows.units import duration

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.database import GlassDatabase

__all__ = ["create_app"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{inline}; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_LONGEST_MASKED = 4_000_000
"""Characters; longer pages are reports of large campaigns, without output of other programs."""


def create_app(
    database: GlassDatabase, token: str | None = None, experiments: Path | None = None
) -> flask.Flask:
    """Return the application.

    Every route reads only. Passwords are masked in all pages.

    Parameters
    ----------
    database
        The database.
    token
        Token that requests need; None for a server that only this machine can reach.
    experiments
        A file of your own measured values and curves, for the reports.
    """
    app = flask.Flask(__name__)
    app.jinja_env.autoescape = True
    app.jinja_env.undefined = jinja2.StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= {"formula": formula_parts, "hours": _hours, "duration": duration}
    app.jinja_env.globals |= {
        "version": mgflows.__version__,
        "database": database.settings.shown_uri,
    }
    app.before_request(Access(token).check)
    app.after_request(_protect)
    app.register_error_handler(Exception, _explain)
    reports = Reports(database, experiments)
    _add_campaigns(app, database, reports)
    _add_results(app, database)
    _add_comparisons(app, database, reports)
    return app


def _add_campaigns(app: flask.Flask, database: GlassDatabase, reports: Reports) -> None:
    @app.get("/")
    def campaigns() -> str:
        return flask.render_template("campaigns.html.j2", **pages.campaigns(database))

    @app.get("/campaigns/<name>/")
    def campaign(name: str) -> str:
        return flask.render_template("campaign.html.j2", **pages.campaign(database, name))

    @app.get("/campaigns/<name>/jobs/<int:fw_id>")
    def job(name: str, fw_id: int) -> str:
        name = database.campaign(name).campaign
        home = ("Campaigns", flask.url_for("campaigns"), flask.url_for("campaign", name=name))
        return flask.render_template("job.html.j2", home=home, **pages.job(database, name, fw_id))

    @app.get("/campaigns/<name>/report")
    def report(name: str) -> flask.Response:
        return _page(reports.html(name))

    @app.get("/campaigns/<name>/structures")
    def structures(name: str) -> str:
        kind = flask.request.args.get("kind")
        page = flask.request.args.get("page", 1, type=int)
        listing = list_structures(database, database.campaign(name).campaign, kind, page)
        return flask.render_template("structures.html.j2", campaign=name, listing=listing)

    @app.get("/campaigns/<name>/structure")
    def structure(name: str) -> str:
        kind, key = _place()
        shown = load_structure(database, database.campaign(name).campaign, kind, key)
        return flask.render_template(
            "structure.html.j2",
            campaign=name,
            kind=kind,
            key=key,
            shown=shown,
            **pages.structure(shown),
        )

    @app.get("/campaigns/<name>/structure.xyz")
    def structure_file(name: str) -> flask.Response:
        kind, key = _place()
        shown = load_structure(database, database.campaign(name).campaign, kind, key)
        return _text_file(xyz_text(shown.atoms), "structure.xyz")


def _add_results(app: flask.Flask, database: GlassDatabase) -> None:
    @app.get("/datasets")
    def datasets() -> str:
        return flask.render_template("datasets.html.j2", datasets=database.datasets()[::-1])

    @app.get("/datasets/<identifier>/")
    def dataset(identifier: str) -> str:
        return flask.render_template("dataset.html.j2", **pages.dataset(database, identifier))

    @app.get("/datasets/<identifier>/<form>-<split>.zip")
    def dataset_download(identifier: str, form: str, split: str) -> flask.Response:
        found = database.dataset(identifier).dataset_id
        response = flask.Response(
            dataset_archive(database, found, form, split), mimetype="application/zip"
        )
        name = f"dataset-{found}-{form}-{split}.zip"
        response.headers["Content-Disposition"] = f"attachment; filename={name}"
        return response

    @app.get("/potentials")
    def potentials() -> str:
        return flask.render_template("potentials.html.j2", potentials=database.potentials()[::-1])

    @app.get("/potentials/<identifier>/")
    def potential(identifier: str) -> str:
        return flask.render_template("potential.html.j2", **pages.potential(database, identifier))

    @app.get("/potentials/<identifier>/nep.<ending>")
    def potential_file(identifier: str, ending: str) -> flask.Response:
        found = database.potential(identifier)
        texts = {"txt": found.nep_txt, "in": found.nep_in}
        if ending not in texts:
            raise InputError(f"there is no file nep.{ending}", hint="there are nep.txt and nep.in")
        return _text_file(texts[ending], f"nep.{ending}")

    @app.get("/potentials/<identifier>/<form>.zip")
    def potential_download(identifier: str, form: str) -> flask.Response:
        found = database.potential(identifier).potential_id
        return _archive(potential_archive(database, found, form), f"potential-{found}-{form}.zip")

    @app.get("/style.css")
    def style() -> flask.Response:
        """The style sheet of the report, and the additions of the live view."""
        report = resources.files("mgflows.report") / "report.css"
        own = resources.files("mgflows.report.web") / "live_view.css"
        text = "\n".join(sheet.read_text(encoding="utf-8") for sheet in (report, own))
        return flask.Response(text, mimetype="text/css")


def _add_comparisons(app: flask.Flask, database: GlassDatabase, reports: Reports) -> None:
    @app.get("/comparisons")
    def comparisons() -> str:
        return flask.render_template("comparisons.html.j2", **pages.comparisons(database))

    @app.get("/comparisons/<name>/")
    def comparison(name: str) -> flask.Response:
        return _page(reports.comparison(name))

    @app.get("/validations/<name>/")
    def validation(name: str) -> str:
        return flask.render_template("validation.html.j2", **pages.validation(database, name))

    @app.get("/validations/<name>/jobs/<int:fw_id>")
    def validation_job(name: str, fw_id: int) -> str:
        name = validation_progress(database.mongo, name).name
        home = ("Comparisons", flask.url_for("comparisons"), flask.url_for("validation", name=name))
        return flask.render_template("job.html.j2", home=home, **pages.job(database, name, fw_id))


def _page(text: str) -> flask.Response:
    """A page that is one file with its own style sheet, and figures with style attributes."""
    response = flask.make_response(text)
    response.headers["Content-Security-Policy"] = _POLICY.format(inline=" 'unsafe-inline'")
    return response


def _place() -> tuple[str, str]:
    kind, key = (flask.request.args.get(name, "") for name in ("kind", "key"))
    if not kind or not key:
        raise InputError(
            "the address names no structure", hint="choose one in the list of structures"
        )
    return kind, key


def _text_file(text: str, name: str) -> flask.Response:
    response = flask.Response(text, mimetype="text/plain")
    response.headers["Content-Disposition"] = f"attachment; filename={name}"
    return response


def _archive(stream: IO[bytes], name: str) -> flask.Response:
    return flask.send_file(
        stream, mimetype="application/zip", as_attachment=True, download_name=name
    )


def _protect(response: flask.Response) -> flask.Response:
    """Mask passwords, and forbid browsers to store, embed or send pages to others."""
    if response.mimetype == "text/html" and not response.direct_passthrough:
        text = response.get_data(as_text=True)
        if len(text) <= _LONGEST_MASKED:
            response.set_data(mask_credentials(text))
    headers = response.headers
    headers.setdefault("Content-Security-Policy", _POLICY.format(inline=""))
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if flask.request.endpoint not in ("static", "style"):
        headers["Cache-Control"] = "no-store"
    return response


def _explain(error: Exception) -> tuple[str, int]:
    """The page of an error."""
    if isinstance(error, HTTPException):
        code, message, hint = error.code or 500, error.description or error.name, ""
    elif isinstance(error, MgflowsError):
        code, message, hint = (
            404 if isinstance(error, InputError) else 503,
            error.message,
            error.hint,
        )
    elif isinstance(error, PyMongoError):
        code, message = 503, "the database does not answer"
        hint = "check it with: mgflows doctor"
    else:
        flask.current_app.logger.exception("a page failed")
        code, message = 500, f"this page failed with {type(error).__name__}"
        hint = "the terminal of mgflows serve shows the traceback"
    return flask.render_template("error.html.j2", code=code, message=message, hint=hint), code


def _hours(hours: float) -> str:
    """Hours in words: as a duration below 100 h, as whole hours above."""
    return duration(3600.0 * hours) if hours < 100.0 else f"{hours:,.0f} h"
