-- Alerts: who is told when something is wrong with the instance, and what they have been told.

-- Where alerts go. Folded from `alert_channel.*`.
create table state.alert_channel (
    name text collate "C" primary key,
    kind text not null,
    -- Host and port of the address. The address itself may be a secret: it lies in `live.secret_material`, under this id.
    host text not null,
    secret uuid not null,
    -- What it hears of; null is everything there is, now and later.
    conditions text[],
    -- So long it hears nothing again of the same matter.
    cooldown_s int not null,
    is_enabled boolean not null,
    created_at timestamptz not null,
    position bigint not null,
    -- Closed vocabulary.
    constraint alert_channel_kind_known check (kind in ('webhook')),
    constraint alert_channel_cooldown_bounded check (cooldown_s between 0 and 2592000)
);

-- The last alert of each matter on each channel. Folded from `alert.*`; the alerts before it are in the log.
create table state.alert (
    channel text collate "C" not null references state.alert_channel (name) on delete cascade,
    condition text not null,
    -- Which app, view or node; empty where there is one of the kind.
    subject text collate "C" not null,
    id uuid not null,
    -- `alert.raised`, whole.
    data json not null,
    raised_at timestamptz not null,
    -- What happened up to here is in it, or in one before.
    told_up_to timestamptz not null,
    -- When the matter was over.
    recovered_at timestamptz,
    -- What the receiver has yet to be told. Closed vocabulary.
    owed text,
    -- Of telling that: how often it failed, when it is tried next, why it failed last.
    attempts int not null default 0,
    due_at timestamptz,
    last_error text,
    position bigint not null,
    primary key (channel, condition, subject),
    constraint alert_owed_known check (owed in ('raised', 'recovered')),
    constraint alert_owed_is_due check ((owed is null) = (due_at is null))
);

-- The last backup that failed, if one has. Folded from `backup.failed`.
create table state.backup_failure (
    only_row boolean primary key default true,
    failed_at timestamptz not null,
    error text not null,
    position bigint not null,
    constraint backup_failure_has_one_row check (only_row)
);

-- Letters that nobody has seen to, by when they came to need somebody: made, or given up by their handlers.
create index dead_letter_unresolved_since on state.dead_letter (app_id, (coalesce(resolved_at, created_at)))
    where resolution is null or resolution = 'handler_failed';

-- Addresses of channels, with what their messages are signed with, under the instance's key.
alter table live.secret_material drop constraint secret_material_kind_known;
alter table live.secret_material add constraint secret_material_kind_known
    check (kind in (
        'data_key', 'api_key', 'password', 'link', 'totp', 'recovery', 'letter_key', 'app_secret', 'alert_channel'
    ));
