"""The forms of signing in, with the organisation's rules asked before a password is looked at."""

from __future__ import annotations

from typing import Any

from allauth.account import forms as allauth_forms
from allauth.account.adapter import get_adapter
from django import forms
from django.http import HttpRequest

from headwater.control.identity.models import User
from headwater.control.sso.models import IdentityProvider
from headwater.control.sso.rules import enforced_provider, may_recover


class EmailForm(forms.Form):
    """The first step: who are you?"""

    login = forms.EmailField(
        label="Email", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True})
    )


class LoginForm(allauth_forms.LoginForm):  # type: ignore[misc]
    """The second step: the password. ``provider`` is set when there is another way in, and only that one."""

    provider: IdentityProvider | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Label the fields."""
        super().__init__(*args, **kwargs)
        self.fields["login"].label = "Email"
        self.fields["login"].widget.attrs.update({"autocomplete": "username", "placeholder": ""})
        self.fields["password"].widget.attrs["placeholder"] = ""

    def _clean_with_password(self, credentials: dict[str, Any]) -> Any:
        """Check the password, unless the address comes in another way; then it is not even looked at."""
        email = str(credentials["email"])
        provider = enforced_provider(email)
        if provider is None:
            return super()._clean_with_password(credentials)
        if self.request.POST.get("recovery") != "yes":
            self.provider = provider
            raise forms.ValidationError("Your organisation signs you in.")
        # The same work and the same words for everybody, so that nobody learns who is kept for recovery.
        cleaned = super()._clean_with_password(credentials)
        if not may_recover(self.user, provider):
            raise get_adapter().validation_error("email_password_mismatch")
        return cleaned


class SignupForm(allauth_forms.SignupForm):  # type: ignore[misc]
    """An account for somebody whose domain lets them in."""

    def clean_email(self) -> str:
        """Refuse whom nobody lets in."""
        value: str = super().clean_email()
        cleaned: str = get_adapter().clean_signup_email(value)
        return cleaned


class ResetPasswordForm(allauth_forms.ResetPasswordForm):  # type: ignore[misc]
    """Asks for a mail with a link. The page that follows is the same for every address."""

    def clean_email(self) -> str:
        """Leave out who has no use for a password."""
        email: str = super().clean_email()
        self.provider = enforced_provider(email)
        if self.provider is not None:
            self.users: list[User] = [user for user in self.users if may_recover(user, self.provider)]
        return email

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Send the link, or say how one signs in instead."""
        if self.provider is None or self.users:
            sent: str = super().save(request, **kwargs)
            return sent
        email: str = self.cleaned_data["email"]
        get_adapter().send_mail("identity/mail/single_sign_on", email, {"provider": self.provider})
        return email


class ResetPasswordKeyForm(allauth_forms.ResetPasswordKeyForm):  # type: ignore[misc]
    """Sets a new password, unless the rules changed since the link was sent."""

    def clean(self) -> Any:
        """Refuse who comes in another way by now."""
        provider = enforced_provider(self.user.email) if self.user else None
        if provider is not None and not may_recover(self.user, provider):
            raise forms.ValidationError(f"You sign in through {provider.name}; there is no password to set.")
        return super().clean()


class NewAccountForm(forms.Form):
    """Name and password of somebody who takes an invitation up."""

    name = forms.CharField(max_length=200, required=False, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    password = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), help_text="At least 10 characters."
    )

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        """Check the password against the address it is for."""
        super().__init__(*args, **kwargs)
        self._email = email

    def clean_password(self) -> str:
        """Refuse a weak password."""
        checked: str = get_adapter().clean_password(self.cleaned_data["password"], User(email=self._email))
        return checked
