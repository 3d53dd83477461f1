-- What is said of topics: of one, or of all below one of which nothing closer is said.
create table state.topic (
    app_id uuid not null references state.app (id) on delete cascade,
    -- A topic, `prefix.*` or `*`.
    topic text collate "C" not null,
    -- Who may listen to it from outside; null is nobody. Closed vocabulary.
    auth text,
    created_at timestamptz not null,
    position bigint not null,
    primary key (app_id, topic),
    constraint topic_auth_known check (auth in ('public', 'token'))
);

-- Who comes back reads on where it stopped, however much else the log holds.
create index data_published on log.data (app_id, position) where kind = 'message.published';

-- Secrets that the platform keeps for an app, under its data key, each with a name.
alter table live.secret_material add column name text;
alter table live.secret_material drop constraint secret_material_kind_known;
alter table live.secret_material add constraint secret_material_kind_known
    check (kind in ('data_key', 'api_key', 'password', 'link', 'totp', 'recovery', 'letter_key', 'app_secret'));
alter table live.secret_material add constraint secret_material_app_secrets_have_names
    check ((kind = 'app_secret') = (name is not null));
create unique index secret_material_one_of_a_name on live.secret_material (app_id, name) where kind = 'app_secret';
