-- Views: what lists, searches and figures are read from, folded from the log shortly after. Whoever folds one moves its
-- checkpoint in the same transaction; all of it can be built again from the log, beside what is there.

-- Up to where a view has taken in the log.
create table views.checkpoint (
    view text primary key,
    -- Of the fold that made its rows: another one makes others.
    version integer not null,
    position bigint not null default 0,
    -- When the event there was committed.
    at timestamptz,
    -- What it could not take in, and why: it stands before that until somebody does something about it.
    parked_position bigint,
    parked_error text,
    parked_at timestamptz,
    constraint parked_says_all check (num_nulls(parked_position, parked_error, parked_at) in (0, 3))
);

-- Runs that have begun, by the place of their beginning. They move to `views.invocation` when they end.
create table views.running (
    position bigint primary key,
    id uuid not null,
    app_id uuid not null,
    script uuid not null,
    version uuid not null,
    invocation_type text not null,
    route uuid,
    trigger uuid,
    item uuid,
    attempt smallint not null,
    actor text,
    request_id uuid,
    started_at timestamptz not null,
    -- What it has said so far.
    said text not null
);
create index running_by_app on views.running (app_id, position);
create index running_by_id on views.running (id);

-- Runs that have ended. Rows are never changed, so that nothing has to be cleaned up behind them, and go with the segment of
-- the log that they lie in: it has one partition for each.
create table views.invocation (
    position bigint not null,
    id uuid not null,
    app_id uuid not null,
    script uuid not null,
    version uuid not null,
    invocation_type text not null,
    route uuid,
    trigger uuid,
    item uuid,
    attempt smallint not null,
    actor text,
    request_id uuid,
    started_at timestamptz not null,
    -- Where and when it ended.
    ended_position bigint not null,
    ended_at timestamptz not null,
    duration_us bigint not null,
    runs integer not null,
    -- Of a run that ended well.
    http_status smallint,
    operations bigint,
    -- Of one that did not.
    reason text,
    message text,
    line integer,
    over_limit text,
    -- How many times a millisecond has to be doubled to come near the duration; 0 is below one.
    slowness smallint not null,
    -- What the run said and how it failed, for searches; none, when it did neither.
    words tsvector,
    constraint invocation_ended_one_way check (num_nonnulls(http_status, reason) = 1)
) partition by range (position);
create index invocation_by_app on views.invocation (app_id, position);
create index invocation_failed on views.invocation (app_id, position) where reason is not null;
create index invocation_by_slowness on views.invocation (app_id, slowness, position) where slowness > 0;
-- Names grow with time, as rows do.
create index invocation_by_id on views.invocation using brin (id) with (pages_per_range = 32, autosummarize = on);
-- One index for all that a run may be listed by: a tree for each took twice as long to write and five times the room. It has no
-- order: it is asked for what is rare, and what is frequent is met soon in the order of the log.
create index invocation_by_keys on views.invocation
    using gin ((array[script, version, route, trigger, md5(actor)::uuid])) with (gin_pending_list_limit = 1024);
create index invocation_by_words on views.invocation using gin (words) where words is not null;

-- How many ended runs there are, and between which places they began: a segment of the log, an app, and a value of what they
-- are listed by. The first counts all: its value is empty.
create table views.invocation_count (
    segment bigint not null,
    app_id uuid not null,
    dimension text not null,
    value text not null,
    ok bigint not null,
    failed bigint not null,
    first_position bigint not null,
    last_position bigint not null,
    primary key (app_id, dimension, value, segment),
    constraint dimension_known check (dimension in ('all', 'script', 'version', 'route', 'trigger', 'actor'))
);

-- Which events say something: log lines, and how runs failed. What they say is read from the log.
create table views.log_entry (
    position bigint primary key,
    app_id uuid not null,
    script uuid not null,
    version uuid not null,
    invocation uuid not null,
    -- The loudest of its lines: 0 trace, 1 debug, 2 info, 3 warn, 4 error.
    level smallint not null
) partition by range (position);
create index log_entry_by_app on views.log_entry (app_id, position);
create index log_entry_by_script on views.log_entry (script, position);
create index log_entry_by_invocation on views.log_entry (invocation, position);
create index log_entry_loud on views.log_entry (app_id, position) where level >= 3;
create index log_entry_loud_by_script on views.log_entry (script, position) where level >= 3;

-- What ran in a minute, and how long it took: how many durations lie in each bucket of a histogram.
create table views.run_minute (
    app_id uuid not null,
    script uuid not null,
    minute timestamptz not null,
    ok bigint not null,
    failed bigint not null,
    duration_us bigint not null,
    durations integer[] not null,
    primary key (app_id, script, minute)
);

-- What became of owed work in a minute.
create table views.outbox_minute (
    app_id uuid not null,
    minute timestamptz not null,
    enqueued bigint not null,
    rescheduled bigint not null,
    delivered bigint not null,
    exhausted bigint not null,
    cancelled bigint not null,
    primary key (app_id, minute)
);

-- How much of an app's work is owed.
create table views.outbox_depth (
    app_id uuid primary key,
    pending bigint not null
);

-- Failures that are alike: of one script, with the same words around whatever varies.
create table views.error_group (
    app_id uuid not null,
    script uuid not null,
    alike text not null,
    failures bigint not null,
    first_at timestamptz not null,
    -- The last of them.
    last_position bigint not null,
    last_at timestamptz not null,
    invocation uuid not null,
    version uuid not null,
    reason text not null,
    message text not null,
    line integer,
    primary key (app_id, script, alike)
);
create index error_group_by_app on views.error_group (app_id, last_position);

-- What happened in an hour, how often. What is the instance's own has an id of zeros.
create table views.activity (
    app_id uuid not null,
    hour timestamptz not null,
    kind text not null,
    events bigint not null,
    primary key (app_id, hour, kind)
);

-- The sums of two histograms, bucket by bucket.
create function log.add_counts(one integer[], two integer[]) returns integer[]
language sql immutable parallel safe as $$
    select array_agg(coalesce(u.x, 0) + coalesce(u.y, 0) order by u.n) from unnest(one, two) with ordinality as u (x, y, n)
$$;
