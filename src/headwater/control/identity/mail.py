"""Sending mails, with links that lead to us whatever host a request names."""

from __future__ import annotations

from smtplib import SMTPException
from typing import Any
from urllib.parse import urlsplit

from allauth.core import context
from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse

from headwater.control import configuration
from headwater.core.errors import HeadwaterError


def link_to(name: str, **parts: str) -> str:
    """Return the whole address of one of our pages."""
    return absolute(reverse(name, kwargs=parts))


def absolute(path: str) -> str:
    """Return ``path`` as browsers reach it: under the configured address, else under an allowed host of the request."""
    current = configuration.current()
    request = context.request
    if current.control.url or request is None or "*" in current.control.allowed_hosts:
        return current.control_url.rstrip("/") + path
    return str(request.build_absolute_uri(path))


def ours(url: str) -> str:
    """Return ``url`` under our own address, whatever host somebody made it with."""
    parts = urlsplit(url)
    return absolute(f"{parts.path}?{parts.query}" if parts.query else parts.path)


def deliver(template: str, address: str, values: dict[str, Any]) -> None:
    """Send a mail whose subject and text are templates.

    Raises:
        HeadwaterError: ``mail_unavailable`` when the mail server does not take it.
    """
    subject = " ".join(render_to_string(f"{template}_subject.txt", values).split())
    text = render_to_string(f"{template}_message.txt", values)
    try:
        EmailMessage(f"[Headwater] {subject}", text, settings.DEFAULT_FROM_EMAIL, [address]).send()
    except (SMTPException, OSError) as error:
        raise HeadwaterError(
            "mail_unavailable",
            f"the mail to {address} could not be sent: {error}",
            hint="check control.email_url, then send it again",
        ) from error
