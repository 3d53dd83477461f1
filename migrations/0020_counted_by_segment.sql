-- What is counted goes with the events that it was counted from: every count says which segment of the log that is, so that it can
-- be built again from what is left, and is the same.

-- By the segment that the run began in.
alter table views.run_minute add column segment bigint not null default 0, drop constraint run_minute_pkey,
    add primary key (app_id, script, minute, segment);
alter table views.run_minute alter column segment drop default;

-- By the segment of the event.
alter table views.outbox_minute add column segment bigint not null default 0, drop constraint outbox_minute_pkey,
    add primary key (app_id, minute, segment);
alter table views.outbox_minute alter column segment drop default;

-- By the segment that the run began in; its first and last failure are of those.
alter table views.error_group add column segment bigint not null default 0, drop constraint error_group_pkey,
    add primary key (app_id, script, alike, segment);
alter table views.error_group alter column segment drop default;

-- By the segment of the event, and the class that says how long it is kept.
alter table views.activity add column class text not null default 'config', add column segment bigint not null default 0,
    drop constraint activity_pkey, add primary key (app_id, hour, kind, segment);
alter table views.activity alter column class drop default, alter column segment drop default;

-- Where the run began that says it, if in an earlier segment: what it says goes with that. There are few of these.
alter table views.log_entry add column began bigint;
create index log_entry_later on views.log_entry (began) where began is not null;
