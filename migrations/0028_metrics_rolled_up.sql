-- Metrics are counted minute by minute, and rolled up over longer steps: what is asked of a month is not read from its 43 200
-- minutes. The view `metrics` is built anew for it.
drop table views.run_minute, views.outbox_minute;

-- What ran in a step, and how long it took: how many durations lie in each bucket of a histogram. Of a script, or of all: then its
-- id is zeros.
create table views.run_rollup (
    app_id uuid not null,
    -- How long the step is: a minute, five, an hour or a day.
    step_s integer not null,
    at timestamptz not null,
    script uuid not null,
    -- The segment of the log that the runs began in.
    segment bigint not null,
    ok bigint not null,
    failed bigint not null,
    duration_us bigint not null,
    durations integer[] not null,
    primary key (app_id, step_s, at, script, segment)
);
create index run_rollup_by_segment on views.run_rollup (segment);

-- What became of owed work in a step.
create table views.outbox_rollup (
    app_id uuid not null,
    step_s integer not null,
    at timestamptz not null,
    -- The segment of the log that says it.
    segment bigint not null,
    enqueued bigint not null,
    rescheduled bigint not null,
    delivered bigint not null,
    exhausted bigint not null,
    cancelled bigint not null,
    primary key (app_id, step_s, at, segment)
);
create index outbox_rollup_by_segment on views.outbox_rollup (segment);
