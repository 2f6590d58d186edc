"""The pages that show the schema. All they load comes from this server, so they work offline."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

_ASSETS = "/docs/assets"
# Both programs know addresses of their makers (a validator, a logo); these stay unasked.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY}


def add_documentation(app: FastAPI) -> None:
    """Serve the pages, and the scripts and styles of the package that brings them."""
    app.include_router(router)
    app.mount(_ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]), name="docs-assets")


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The schema in Swagger UI, where requests can be tried."""
    page = get_swagger_ui_html(
        openapi_url=_here(request, request.app.openapi_url),
        title=request.app.title,
        swagger_js_url=_asset(request, "swagger-ui-bundle.js"),
        swagger_css_url=_asset(request, "swagger-ui.css"),
        swagger_favicon_url=_asset(request, "favicon.png"),
        swagger_ui_parameters={"validatorUrl": None},
    )
    return _guarded(page)


@router.get("/redoc")
async def redoc(request: Request) -> HTMLResponse:
    """The schema in ReDoc, for reading."""
    page = get_redoc_html(
        openapi_url=_here(request, request.app.openapi_url),
        title=request.app.title,
        redoc_js_url=_asset(request, "redoc.standalone.js"),
        redoc_favicon_url=_asset(request, "favicon.png"),
        with_google_fonts=False,
    )
    return _guarded(page)


def _here(request: Request, path: str) -> str:
    """A path below the prefix that a proxy may serve this under."""
    return f"{request.scope.get('root_path', '')}{path}"


def _asset(request: Request, name: str) -> str:
    return _here(request, f"{_ASSETS}/{name}")


def _guarded(page: HTMLResponse) -> HTMLResponse:
    page.headers.update(_HEADERS)
    return page
