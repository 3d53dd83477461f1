-- Apps are paused, renamed, deleted and purged.
alter table state.app add column is_paused boolean not null default false;

-- Names that apps had. They lead to the app for as long as it exists.
create table state.former_slug (
    slug text primary key,
    app_id uuid not null references state.app (id) on delete cascade,
    position bigint not null
);
create index former_slug_by_app on state.former_slug (app_id);

-- What is left of deleted apps: enough to erase their data key, and to find what is to be swept.
create table state.deleted_app (
    id uuid primary key,
    slug text not null,
    deleted_at timestamptz not null,
    purged_at timestamptz,
    position bigint not null
);
