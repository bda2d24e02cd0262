"""Django's settings: thin, everything from ``core.settings``."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

from headwater.control.configuration import current, home
from headwater.control.console.skin import UNFOLD as UNFOLD  # noqa: PLC0414 - a setting, re-exported
from headwater.control.kit.database import database_settings, email_settings
from headwater.control.kit.own_apps import own_apps
from headwater.core.settings import reachable

_settings = current()
_home = home()


def _secret_key() -> str:
    """Return the home's secret; before the first start a passing one, so that checks and type checkers can load us."""
    try:
        return _home.django_secret.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return secrets.token_urlsafe(50)


SECRET_KEY = _secret_key()
DEBUG = False
# Services, commands and the supervisor ask control where it listens, whatever browsers may use.
ALLOWED_HOSTS = [
    *_settings.control.allowed_hosts,
    reachable(_settings.control.host),
    reachable(urlsplit(_settings.control_url).hostname or ""),
]
CSRF_TRUSTED_ORIGINS = [_settings.control.url] if _settings.control.url else []
ROOT_URLCONF = "headwater.control.urls"
ASGI_APPLICATION = "headwater.control.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "identity.User"

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    # The one that does not look for pages: only control needs them, and its URLs ask for them.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "headwater.control.kit",
    "headwater.control.audit",
    "headwater.control.orgs",
    "headwater.control.access",
    "headwater.control.sso",
    "headwater.control.identity",
    "headwater.control.policies",
    "headwater.control.catalog",
    "headwater.control.dashboards",
    "headwater.control.features",
    "headwater.control.flags",
    "headwater.control.registry",
    "headwater.control.monitoring",
    "headwater.control.overrides",
    "headwater.control.reviews",
    "headwater.control.snapshots",
    "headwater.control.upkeep",
    "headwater.control.api",
    "headwater.control.console",
    "django_htmx",
    "ninja",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
]

# What a project adds comes last: its templates and commands stand in for none of ours.
OWN_APPS = own_apps(_settings.project)
INSTALLED_APPS += OWN_APPS

MIDDLEWARE = [
    "headwater.control.kit.middleware.request_context",
    "headwater.control.kit.middleware.security_headers",
    "headwater.control.kit.static.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "headwater.control.identity.guard.guard_sessions",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "headwater.control.kit.middleware.csp_nonce",
            ],
        },
    },
]

DATABASES = {"default": database_settings(_settings.database.url, _home)}
# What limits sign-ins is counted where the accounts are: every process and machine sees the same count, and no
# further server must run for people to come in. Large, so that made-up addresses do not push real counts out.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "identity_cacheentry",
        "OPTIONS": {"MAX_ENTRIES": 200_000},
    }
}

# People
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ACCOUNT_ADAPTER = "headwater.control.identity.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Headwater] "
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_FORMS = {
    "login": "headwater.control.identity.forms.LoginForm",
    "signup": "headwater.control.identity.forms.SignupForm",
    "reset_password": "headwater.control.identity.forms.ResetPasswordForm",
    "reset_password_from_key": "headwater.control.identity.forms.ResetPasswordKeyForm",
}
# Five wrong passwords lock an account for five minutes, twenty for a day; a reset password opens it again.
ACCOUNT_RATE_LIMITS = {
    "login_failed": "30/m/ip,5/5m/key,20/d/key",
    "signup": "30/m/ip",
    "reset_password": "20/m/ip,3/m/key",
}
ACCOUNT_SESSION_REMEMBER = True
SOCIALACCOUNT_ADAPTER = "headwater.control.identity.social.SocialAccountAdapter"
# The provider's own page is the confirmation: a form of ours that led there would be stopped by our own policy.
SOCIALACCOUNT_LOGIN_ON_GET = True
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "provider_class": "headwater.control.sso.provider.OrganizationProvider",
        "OAUTH_PKCE_ENABLED": True,
    }
}
MFA_ADAPTER = "headwater.control.identity.factors.MFAAdapter"
MFA_TOTP_ISSUER = "Headwater"
MFA_TOTP_TOLERANCE = 1
MFA_RECOVERY_CODES_SHOW_ONCE = True
ACCOUNT_LOGOUT_ON_GET = False
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "/accounts/login/"

# Cookies and headers
SESSION_COOKIE_NAME = "hw_session"
CSRF_COOKIE_NAME = "hw_csrf"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _settings.control.secure_cookies
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _settings.control.secure_cookies else None
X_FRAME_OPTIONS = "DENY"

# Files served from where their packages lie: nothing to collect.
STATIC_URL = "/static/"

# Mail
DEFAULT_FROM_EMAIL = SERVER_EMAIL = _settings.control.email_from
globals().update(email_settings(_settings.control.email_url))

# Time, language, logs
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = True
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = "headwater.control.console.formats"
LOGGING_CONFIG = None

# A project directory is applied in one request; a model's artifact is put in one of its own.
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 << 20
MAX_ARTIFACT_BYTES = 512 << 20
