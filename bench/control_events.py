"""Audit events, made in the database itself: ten million take minutes."""

from __future__ import annotations

from django.db import connection

from headwater.control.audit.models import AuditEvent, AuditHead
from headwater.control.orgs.models import Organization
from headwater.core.ids import format_id

_NAMES = (
    "id, org_id, n, at, actor_kind, actor_id, actor_label, on_behalf_of, action, target_kind, target_id, target_label, "
    "before_json, after_json, related_json, reason, request_id, group_id, ip, prev_hash, hash"
)
_SQLITE = (
    (
        f"INSERT INTO audit_auditevent ({_NAMES}) "
        "WITH RECURSIVE s(n, stop, org, name) AS (SELECT %s, %s, %s, %s UNION ALL SELECT n + 1, stop, org, name FROM s "
        "WHERE n < stop)"
    ),
    """SELECT printf('%%012x7%%03x8%%015x', 1767225600000 + n * 3000, n %% 4096, n), org, n,
    strftime('%%Y-%%m-%%d %%H:%%M:%%f', 1767225600.0 + n * 3, 'unixepoch'), 'user', 'usr_' || (n %% 1000),
    'person-' || (n %% 1000) || '@example.com', '', CASE n %% 4 WHEN 0 THEN 'dataset.create' WHEN 1 THEN 'grant.create'
    WHEN 2 THEN 'flag.change' ELSE 'review.decide' END, 'catalog.dataset', 'ds_' || (n %% 5000),
    'data_' || (n %% 5000), '{"state": "draft"}', '{"state": "active"}', '[]', 'as planned', 'req_' || n, 'grp_' || n,
    '10.0.0.1', printf('%%064x', n - 1), printf('%%064x', n) FROM s""",
)
_POSTGRESQL = (
    (
        f"INSERT INTO audit_auditevent ({_NAMES}) "
        "WITH s AS (SELECT n, g.org::uuid AS org FROM "
        "(SELECT %s::bigint AS a, %s::bigint AS b, %s AS org, %s AS name) g, "
        "generate_series(g.a, g.b) AS n)"
    ),
    """SELECT (lpad(to_hex(1767225600000 + n * 3000), 12, '0') || '7' || lpad(to_hex(n %% 4096), 3, '0') || '8'
    || lpad(to_hex(n), 15, '0'))::uuid, org, n, to_timestamp(1767225600 + n * 3), 'user', 'usr_' || (n %% 1000),
    'person-' || (n %% 1000) || '@example.com', '', CASE n %% 4 WHEN 0 THEN 'dataset.create' WHEN 1 THEN 'grant.create'
    WHEN 2 THEN 'flag.change' ELSE 'review.decide' END, 'catalog.dataset', 'ds_' || (n %% 5000),
    'data_' || (n %% 5000), '{"state": "draft"}', '{"state": "active"}', '[]', 'as planned', 'req_' || n, 'grp_' || n,
    '10.0.0.1', lpad(to_hex(n - 1), 64, '0'), lpad(to_hex(n), 64, '0') FROM s""",
)


def add_events(org: Organization, count: int) -> None:
    """Append audit events in the database itself: ten million in minutes."""
    head, _ = AuditHead.objects.get_or_create(org_id=org.pk)
    series, columns = _POSTGRESQL if connection.vendor == "postgresql" else _SQLITE
    key = AuditEvent._meta.get_field("org_id").get_db_prep_value(org.pk, connection)
    with connection.cursor() as cursor:
        for start in range(head.n + 1, head.n + count + 1, 500_000):
            end = min(start + 499_999, head.n + count)
            cursor.execute(f"{series} {columns}", [start, end, str(key), format_id("org", org.pk)])
    head.n += count
    head.save(update_fields=["n"])
