-- Whether what is owed may run, on the whole instance. Without a row it may, and always might.
create table state.outbox_pause (
    only_row boolean primary key default true,
    is_paused boolean not null,
    -- Why, as the event says.
    reason text,
    -- When it was paused or resumed last: cron triggers leave out what was to come while it was paused.
    changed_at timestamptz not null,
    position bigint not null,
    constraint outbox_pause_has_one_row check (only_row)
);
