"""Which failures of the tracking store pass, and which come again however often one tries."""

from __future__ import annotations

# Not ENDPOINT_NOT_FOUND: what a proxy answers while the server behind it starts.
PERMANENT = {
    "BAD_REQUEST",
    "CUSTOMER_UNAUTHORIZED",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "NOT_FOUND",
    "NOT_IMPLEMENTED",
    "PERMISSION_DENIED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
    "UNAUTHENTICATED",
}
WAIT = (408, 425, 429)  # the HTTP answers below 500 after which one may try again


def may_pass(error: Exception) -> bool:
    """Whether the same call may work later: an outage, a busy database, an error of the server."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import HTTPError, RequestException

    if isinstance(error, MlflowException):
        return error.error_code not in PERMANENT
    if isinstance(error, HTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code in WAIT
    # A file, a folder or a setting is wrong otherwise.
    return isinstance(error, (RequestException, ConnectionError, TimeoutError))


def is_missing(error: Exception) -> bool:
    """Whether the store answers that what was asked for does not exist, or cannot have that id."""
    code = getattr(error, "error_code", None)
    return code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
