-- Jobs: decisions about many dead letters at once. And how many letters there are, counted as they come and go.

-- Folded from `job.*`.
create table state.job (
    id uuid primary key,
    app_id uuid not null,
    -- `job.started`: what follows from the job follows from it.
    event uuid not null,
    actor json not null,
    action json not null,
    chosen json not null,
    per_second int not null,
    total int not null,
    -- What it works on, in this order; let go of when it ends, the event keeps them.
    letters uuid[] not null,
    -- As of the last event that told of it. Together: how far it has come.
    done int not null default 0,
    skipped int not null default 0,
    failed int not null default 0,
    trouble text,
    started_at timestamptz not null,
    progressed_at timestamptz,
    -- Somebody wants it to end.
    cancellation uuid,
    cancelled_by json,
    ended_at timestamptz,
    outcome text,
    error text,
    position bigint not null,
    -- Closed vocabulary: under way, or exactly one of these.
    constraint job_outcome_known check (outcome in ('done', 'cancelled', 'failed')),
    constraint job_ended_with_outcome check ((ended_at is null) = (outcome is null)),
    constraint job_counts_what_it_has check (done + skipped + failed between 0 and total)
);
create index job_by_app on state.job (app_id, id);
create index job_open on state.job (app_id, id) where ended_at is null;

-- Which node works on a job. Follows from nothing but who was first: it goes with its job, and with its node.
create table live.job_lease (
    job uuid primary key,
    epoch uuid not null
);

-- The job that decided about a letter.
alter table state.dead_letter add column job uuid;

-- How many letters an app has, by script and by what was decided (`none` yet). A letter is counted in the transaction that
-- changes it.
create table state.dead_letter_count (
    app_id uuid not null,
    script_id uuid not null,
    resolution text not null,
    letters bigint not null,
    primary key (app_id, script_id, resolution),
    constraint dead_letter_count_is_of_letters check (letters >= 0),
    constraint dead_letter_count_resolution_known
        check (resolution in ('none', 'replayed', 'ignored', 'handled_by_script', 'handler_failed'))
);
insert into state.dead_letter_count (app_id, script_id, resolution, letters)
select app_id, script_id, coalesce(resolution, 'none'), count(*) from state.dead_letter group by 1, 2, 3;

-- What is to be purged some day, the oldest first.
create index dead_letter_closed on state.dead_letter (resolved_at)
    where resolution in ('replayed', 'ignored', 'handled_by_script');
