-- State: what is true now, written in the same transaction as the events it follows from. `position` is the event that last
-- changed a row, and so its version.

create table state.app (
    id uuid primary key,
    slug text not null,
    created_at timestamptz not null,
    position bigint not null,
    constraint app_slug_unique unique (slug),
    constraint app_slug_valid check (slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$')
);

create table state.domain (
    id uuid primary key,
    app_id uuid not null references state.app (id) on delete cascade,
    host text not null,
    created_at timestamptz not null,
    position bigint not null,
    constraint domain_host_unique unique (host)
);
create index domain_by_app on state.domain (app_id);

create table state.env (
    app_id uuid not null references state.app (id) on delete cascade,
    name text not null,
    value text not null,
    position bigint not null,
    primary key (app_id, name),
    constraint env_name_valid check (name ~ '^[A-Za-z_][A-Za-z0-9_]{0,62}$')
);

create table state.script (
    id uuid primary key,
    app_id uuid not null references state.app (id) on delete cascade,
    name text not null,
    kind text not null,
    active_version uuid,
    created_at timestamptz not null,
    position bigint not null,
    constraint script_name_unique unique (app_id, name),
    constraint script_name_valid check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    constraint script_kind_known check (kind in ('endpoint', 'module'))
);

create table state.version (
    id uuid primary key,
    script_id uuid not null references state.script (id) on delete cascade,
    number int not null,
    source text not null,
    sha256 text not null,
    imports json not null,
    limits json not null,
    message text,
    actor json not null,
    created_at timestamptz not null,
    position bigint not null,
    constraint version_number_unique unique (script_id, number)
);

create table state.route (
    id uuid primary key,
    app_id uuid not null references state.app (id) on delete cascade,
    script_id uuid not null,
    method text,
    host text,
    path text not null,
    definition json not null,
    created_at timestamptz not null,
    position bigint not null,
    constraint route_script_exists foreign key (script_id) references state.script (id)
);
create index route_by_app on state.route (app_id);
create index route_by_script on state.route (script_id);

create table state.api_key (
    id uuid primary key,
    name text not null,
    prefix text not null,
    scopes text[] not null,
    app_id uuid references state.app (id) on delete cascade,
    account_id uuid,
    expires_at timestamptz,
    created_at timestamptz not null,
    revoked_at timestamptz,
    position bigint not null
);

-- Keys sort by their bytes, so that a prefix is a range of the primary key.
create table state.kv (
    app_id uuid not null,
    collection text collate "C" not null,
    key text collate "C" not null,
    value json not null,
    expires_at timestamptz,
    position bigint not null,
    primary key (app_id, collection, key)
);
create index kv_by_expiry on state.kv (expires_at) where expires_at is not null;

-- Runs that have begun and not ended, as far as the log knows. Short runs never show: their beginning and their end are
-- committed together.
create table state.running (
    invocation uuid primary key,
    app_id uuid not null,
    node uuid not null,
    position bigint not null
);
create index running_by_node on state.running (node);
