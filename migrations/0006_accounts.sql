-- People: accounts and what they are to apps. Names of secrets stand here; the secrets lie in `live.secret_material`.
create table state.account (
    id uuid primary key,
    email text not null,
    name text not null,
    role text not null,
    is_active boolean not null default true,
    -- None: invited, and not yet come.
    password uuid,
    -- An authenticator's seed, and the codes for when it is lost, of which some are used up.
    totp uuid,
    recovery uuid,
    recovery_used smallint[] not null default '{}',
    -- The one link at which a password can be set, until then.
    link uuid,
    link_purpose text,
    link_expires_at timestamptz,
    created_at timestamptz not null,
    position bigint not null,
    constraint account_email_unique unique (email),
    constraint account_role_known check (role in ('owner', 'admin', 'member'))
);

create table state.member (
    app_id uuid not null references state.app (id) on delete cascade,
    account_id uuid not null references state.account (id),
    role text not null,
    created_at timestamptz not null,
    position bigint not null,
    primary key (app_id, account_id),
    constraint member_role_known check (role in ('app_admin', 'editor', 'viewer'))
);

-- Signed-in stays. Not folded: a session is prolonged without an event, and its end is what matters.
create table live.session (
    id uuid primary key,
    account_id uuid not null,
    -- SHA-256 of the token.
    hash bytea not null,
    address text,
    agent text,
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    expires_at timestamptz not null,
    constraint session_hash_unique unique (hash)
);
create index session_by_account on live.session (account_id);
create index session_by_expiry on live.session (expires_at);

-- The newest step of each authenticator: a code works once, on one node.
create table live.totp_step (
    account_id uuid primary key,
    step bigint not null
);

-- When a key was last used: told now and then, many keys at once.
create table live.api_key_use (
    key_id uuid primary key,
    used_at timestamptz not null
);

alter table live.secret_material drop constraint secret_material_kind_known;
alter table live.secret_material add constraint secret_material_kind_known
    check (kind in ('data_key', 'api_key', 'password', 'link', 'totp', 'recovery'));
