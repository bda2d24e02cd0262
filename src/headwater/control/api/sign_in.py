"""How people come in: invitations, domains, identity providers, what is asked of members, and one's own sessions."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from allauth.usersessions.models import UserSession
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from ninja import Query, Router, Status

from headwater.control.access.queries import get_role
from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.pages import Page, PageQuery, take_page, take_sorted
from headwater.control.api.revisions import LOCKED, check_number, check_revision
from headwater.control.api.schemas import ChangeIn
from headwater.control.api.sign_in_schemas import (
    DomainIn,
    DomainOut,
    DomainPatch,
    InvitationIn,
    InvitationOut,
    ProviderIn,
    ProviderOut,
    ProviderPatch,
    RecoveryOwnerIn,
    RecoveryOwnerOut,
    SessionOut,
    SignInPolicyIn,
    SignInPolicyOut,
)
from headwater.control.identity.actions import end_sessions
from headwater.control.identity.invitations import invite, renew, revoke, send
from headwater.control.identity.mail import absolute
from headwater.control.identity.models import Invitation
from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Membership, Organization
from headwater.control.sso import actions, dns
from headwater.control.sso.models import Domain, IdentityProvider, RecoveryOwner, SignInPolicy
from headwater.core.errors import HeadwaterError

router = Router(tags=["Sign-in"])
own = Router(tags=["Sign-in"])
Paging = Annotated[PageQuery, Query(...)]
Row = TypeVar("Row", bound=TenantEntity)
INVITATIONS = "/{org}/invitations"
DOMAINS = "/{org}/domains"
PROVIDERS = "/{org}/identity-providers"
RECOVERY = "/{org}/recovery-owners"


@router.get(INVITATIONS, response=Page[InvitationOut])
def list_invitations(request: HttpRequest, org: str, page: Paging) -> Page[InvitationOut]:
    """List an organisation's invitations, the newest first."""
    home = _home(request, org)
    rows = Invitation.objects.for_org(home).select_related("role")
    return take_page(rows, page, InvitationOut.show, newest_first=True)


@router.post(INVITATIONS, response={201: InvitationOut})
def post_invitation(request: HttpRequest, org: str, body: InvitationIn) -> Status[InvitationOut]:
    """Invite somebody, with or without an account, and mail them the link.

    When the mail cannot be sent, the answer is `mail_unavailable` and the invitation waits to be sent again.
    """
    caller, home = caller_of(request), _home(request, org)
    row, token = invite(actor=caller.actor, org=home, email=body.email, role=get_role(body.role, home))
    send(row, token)
    return Status(201, InvitationOut.show(row))


@router.get(INVITATIONS + "/{invitation}", response=InvitationOut)
def get_invitation(request: HttpRequest, org: str, invitation: str) -> InvitationOut:
    """Show one invitation."""
    return InvitationOut.show(_find(Invitation, request, org, invitation))


@router.post(INVITATIONS + "/{invitation}/resend", response=InvitationOut)
def post_resend_invitation(request: HttpRequest, org: str, invitation: str) -> InvitationOut:
    """Mail another link; the one before opens nothing any more."""
    row, token = renew(actor=caller_of(request).actor, invitation=_find(Invitation, request, org, invitation))
    send(row, token)
    return InvitationOut.show(row)


@router.post(INVITATIONS + "/{invitation}/revoke", response=InvitationOut)
def post_revoke_invitation(request: HttpRequest, org: str, invitation: str, body: ChangeIn) -> InvitationOut:
    """Take an invitation back."""
    row = _find(Invitation, request, org, invitation)
    check_revision(request, row, body.revision)
    return InvitationOut.show(revoke(actor=caller_of(request).actor, invitation=row, reason=body.reason))


@router.get(DOMAINS, response=Page[DomainOut])
def list_domains(request: HttpRequest, org: str, page: Paging) -> Page[DomainOut]:
    """List the domains that an organisation claims, with the records that prove them."""
    rows = Domain.objects.for_org(_home(request, org)).select_related("default_role")
    return take_page(rows, page, DomainOut.show)


@router.post(DOMAINS, response={201: DomainOut})
def post_domain(request: HttpRequest, org: str, body: DomainIn) -> Status[DomainOut]:
    """Claim a domain. The answer says which TXT record proves it."""
    row = actions.claim_domain(actor=caller_of(request).actor, org=_home(request, org), name=body.name)
    return Status(201, DomainOut.show(row))


@router.get(DOMAINS + "/{domain}", response=DomainOut)
def get_domain(request: HttpRequest, org: str, domain: str) -> DomainOut:
    """Show one domain with the record that proves it."""
    return DomainOut.show(_find(Domain, request, org, domain))


@router.post(DOMAINS + "/{domain}/verify", response=DomainOut)
def post_verify_domain(request: HttpRequest, org: str, domain: str) -> DomainOut:
    """Look for the record now."""
    row = _find(Domain, request, org, domain)
    verify = actions.verify_domain if row.verified_at is None else actions.recheck_domain
    verified = verify(actor=caller_of(request).actor, domain=row, resolve=dns.txt_records)
    return DomainOut.show(verified)


@router.patch(DOMAINS + "/{domain}", response=DomainOut)
def patch_domain(request: HttpRequest, org: str, domain: str, body: DomainPatch) -> DomainOut:
    """Let people of a verified domain join by themselves, or no longer."""
    row = _find(Domain, request, org, domain)
    check_revision(request, row, body.revision)
    role = get_role(body.default_role, row.org) if body.default_role else None
    actor = caller_of(request).actor
    return DomainOut.show(actions.change_joining(actor=actor, domain=row, auto_join=body.auto_join, role=role))


@router.delete(DOMAINS + "/{domain}", response={204: None}, openapi_extra=LOCKED)
def delete_domain(request: HttpRequest, org: str, domain: str) -> Status[None]:
    """Give a domain up."""
    row = _find(Domain, request, org, domain)
    check_revision(request, row)
    actions.remove_domain(actor=caller_of(request).actor, domain=row)
    return Status(204, None)


@router.get(PROVIDERS, response=Page[ProviderOut])
def list_providers(request: HttpRequest, org: str, page: Paging) -> Page[ProviderOut]:
    """List an organisation's identity providers: one at most."""
    rows = IdentityProvider.objects.for_org(_home(request, org)).select_related("default_role")
    return take_page(rows, page, _show_provider)


@router.post(PROVIDERS, response={201: ProviderOut})
def post_provider(request: HttpRequest, org: str, body: ProviderIn) -> Status[ProviderOut]:
    """Connect an OpenID Connect issuer. The answer says which redirect URI to register there."""
    home = _home(request, org)
    row = actions.create_provider(
        actor=caller_of(request).actor, org=home, name=body.name, issuer=body.issuer, client_id=body.client_id,
        client_secret=body.client_secret, default_role=get_role(body.default_role, home), domains=body.domains,
    )  # fmt: skip
    return Status(201, _show_provider(row))


@router.get(PROVIDERS + "/{provider}", response=ProviderOut)
def get_provider(request: HttpRequest, org: str, provider: str) -> ProviderOut:
    """Show one identity provider; its secret is never shown."""
    return _show_provider(_find(IdentityProvider, request, org, provider))


@router.patch(PROVIDERS + "/{provider}", response=ProviderOut)
def patch_provider(request: HttpRequest, org: str, provider: str, body: ProviderPatch) -> ProviderOut:
    """Change a provider, enforce it, or cease to."""
    row, actor = _find(IdentityProvider, request, org, provider), caller_of(request).actor
    check_revision(request, row, body.revision)
    role = get_role(body.default_role, row.org) if body.default_role else None
    with transaction.atomic():
        if body.enforced is False:
            actions.change_enforcement(actor=actor, provider=row, enforced=False, reason=body.reason)
        actions.change_provider(
            actor=actor, provider=row, name=body.name, client_id=body.client_id, client_secret=body.client_secret,
            default_role=role, domains=body.domains, enabled=body.enabled,
        )  # fmt: skip
        if body.enforced:
            actions.change_enforcement(actor=actor, provider=row, enforced=True, reason=body.reason)
    return _show_provider(row)


@router.delete(PROVIDERS + "/{provider}", response={204: None}, openapi_extra=LOCKED)
def delete_provider(request: HttpRequest, org: str, provider: str) -> Status[None]:
    """Forget a provider that is not enforced, and which of its accounts are whose."""
    row = _find(IdentityProvider, request, org, provider)
    check_revision(request, row)
    actions.remove_provider(actor=caller_of(request).actor, provider=row)
    return Status(204, None)


@router.get(RECOVERY, response=Page[RecoveryOwnerOut])
def list_recovery_owners(request: HttpRequest, org: str, page: Paging) -> Page[RecoveryOwnerOut]:
    """List the owners who may sign in with a password when the provider is away."""
    rows = RecoveryOwner.objects.for_org(_home(request, org)).select_related("membership__user")
    return take_page(rows, page, RecoveryOwnerOut.show)


@router.post(RECOVERY, response={201: RecoveryOwnerOut})
def post_recovery_owner(request: HttpRequest, org: str, body: RecoveryOwnerIn) -> Status[RecoveryOwnerOut]:
    """Keep an owner for recovery."""
    member = _find(Membership, request, org, body.member)
    row = actions.name_recovery_owner(actor=caller_of(request).actor, membership=member, reason=body.reason)
    return Status(201, RecoveryOwnerOut.show(row))


@router.delete(RECOVERY + "/{recovery}", response={204: None}, openapi_extra=LOCKED)
def delete_recovery_owner(request: HttpRequest, org: str, recovery: str) -> Status[None]:
    """Keep an owner for recovery no longer."""
    row = _find(RecoveryOwner, request, org, recovery)
    check_revision(request, row)
    actions.dismiss_recovery_owner(actor=caller_of(request).actor, recovery=row)
    return Status(204, None)


@router.get("/{org}/sign-in-policy", response=SignInPolicyOut)
def get_sign_in_policy(request: HttpRequest, org: str) -> SignInPolicyOut:
    """Show what an organisation asks of its members."""
    return SignInPolicyOut.show(SignInPolicy.objects.for_org(_home(request, org)).first())


@router.put("/{org}/sign-in-policy", response=SignInPolicyOut)
def put_sign_in_policy(request: HttpRequest, org: str, body: SignInPolicyIn) -> SignInPolicyOut:
    """Ask members for a second factor, or no longer."""
    caller, home = caller_of(request), _home(request, org)
    policy = SignInPolicy.objects.for_org(home).first()
    check_number(request, policy.revision if policy else 0, "the sign-in policy", body.revision)
    row = actions.change_policy(actor=caller.actor, org=home, mfa_required=body.mfa_required, reason=body.reason)
    return SignInPolicyOut.show(row)


@own.get("/me/sessions", response=Page[SessionOut])
def list_sessions(request: HttpRequest, page: Paging) -> Page[SessionOut]:
    """List the browsers in which you are signed in."""
    current = request.session.session_key or ""
    rows = UserSession.objects.purge_and_list(_person(caller_of(request)))
    return take_sorted(rows, page, lambda row: SessionOut.show(row, current), key=lambda row: f"{row.pk:019}")


@own.delete("/me/sessions/{int:session}", response={204: None})
def delete_session(request: HttpRequest, session: int) -> Status[None]:
    """Sign yourself out in one of them."""
    caller = caller_of(request)
    person = _person(caller)
    row = UserSession.objects.filter(user=person, pk=session).first()
    if row is None:
        raise HeadwaterError("not_found", f"you have no session {session}")
    end_sessions(actor=caller.actor, user=person, sessions=[row])
    return Status(204, None)


def _person(caller: Caller) -> Any:
    if caller.key is not None:
        raise HeadwaterError("forbidden", "a key has no sessions", hint="sign in and use the browser's session")
    return caller.actor.subject


def _home(request: HttpRequest, org: str) -> Organization:
    caller = caller_of(request)
    home = caller.organization(org)
    caller.need("member.read", home)
    return home


def _find(kind: type[Row], request: HttpRequest, org: str, public_id: str) -> Row:
    """Return a row of the organisation by its public id."""
    rows = kind.objects.for_org(_home(request, org)).filter(pk=kind.parse_id(public_id))
    found: Row | None = rows.select_related("org").first()
    if found is None:
        raise HeadwaterError("not_found", f"there is no {kind._meta.verbose_name} {public_id!r} here")
    return found


def _show_provider(row: IdentityProvider) -> ProviderOut:
    callback = reverse("openid_connect_callback", kwargs={"provider_id": row.public_id})
    return ProviderOut.show(row, absolute(callback))
