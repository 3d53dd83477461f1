-- What is never folded and never rebuilt by replay.

-- One row for each start of a node. Its commits are refused once it is revoked: that is how a node is declared dead.
create table live.nodes (
    epoch uuid primary key,
    name text not null,
    version text not null,
    started_at timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    revoked_at timestamptz
);

-- The committer asks for the living with every batch; the rows of all starts there ever were are not in its way.
create index nodes_alive on live.nodes (epoch) where revoked_at is null;

-- Secret material: data keys (wrapped by the master key) and the hashes of credentials. Events refer to it by id; erasing a
-- row erases everything that was encrypted under it, wherever it lies.
create table live.secret_material (
    id uuid primary key,
    kind text not null,
    app_id uuid,
    material bytea not null,
    created_at timestamptz not null default now(),
    constraint secret_material_kind_known check (kind in ('data_key', 'api_key'))
);

-- One data key an app, and one for the instance.
create unique index secret_material_one_data_key
    on live.secret_material (coalesce(app_id, '00000000-0000-0000-0000-000000000000'::uuid))
    where kind = 'data_key';

-- What became of requests that bore an idempotency key. `claim` names the attempt under way; the outcome, sealed under the
-- app's data key, is written by the commit that completes its run.
create table live.idempotency (
    scope bytea primary key,
    app_id uuid not null,
    fingerprint bytea not null,
    claim uuid not null,
    claimed_by uuid not null,
    outcome bytea,
    expires_at timestamptz not null
);
create index idempotency_by_expiry on live.idempotency (expires_at);
