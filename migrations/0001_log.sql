-- The log: every fact, once, in the order it was committed. It is the only source of truth; what lies in `state` and
-- `views` is folded from it. `live` holds what is never folded: leases, heartbeats, outcomes, secret material.
create schema log;
create schema state;
create schema views;
create schema live;

-- Which life of the log this is, and the highest position that may have been given out and dropped since: an idle log
-- whose old events went must not give their positions out again.
create table log.meta (
    only_row boolean primary key default true,
    history uuid not null,
    floor bigint not null default 0,
    constraint meta_has_one_row check (only_row)
);
insert into log.meta (history) values (gen_random_uuid());

-- Who appended last. A committer that finds its own token here knows the head without looking.
create table log.writer (
    only_row boolean primary key default true,
    token uuid not null,
    constraint writer_has_one_row check (only_row)
);
insert into log.writer (token) values (gen_random_uuid());

-- The events: by class, because classes are kept for different times; then by position, because what is over is dropped
-- a partition at a time. There is no default partition: an event outside of all would be in the way of making one.
create table log.events (
    position bigint not null,
    id uuid not null,
    at timestamptz not null,
    app_id uuid,
    kind text not null,
    subject text not null,
    -- The exact text is kept (and hashed); jsonb would reorder it.
    data json not null,
    actor json not null,
    cause uuid,
    root uuid,
    depth smallint not null,
    class text not null
) partition by list (class);

create table log.config partition of log.events for values in ('config') partition by range (position);
create table log.data partition of log.events for values in ('data') partition by range (position);
create table log.run partition of log.events for values in ('run') partition by range (position);

-- A segment is a range of positions; it has one leaf a class, named `<class>_<low>`. A leaf that retention dropped is
-- gone from `classes`.
create table log.segments (
    low bigint primary key,
    high bigint not null,
    classes text[] not null default '{config,data,run}',
    constraint segment_is_not_empty check (high > low)
);

-- Makes the segment [low, low + size) behind the last. Leaves are made as tables and then attached: `partition of` would
-- wait behind any long reader of the log, and everybody who appends behind it.
create function log.add_segment(size bigint) returns bigint
language plpgsql as $$
declare
    next_low bigint;
    class text;
    leaf text;
begin
    perform pg_advisory_xact_lock(hashtext('picloud segments'));
    select coalesce(max(high), 1) into next_low from log.segments;
    foreach class in array array['config', 'data', 'run'] loop
        leaf := format('%s_%s', class, next_low);
        execute format('create table log.%I (like log.events including all)', leaf);
        execute format('alter table log.%I add constraint %I primary key (position)', leaf, leaf || '_pkey');
        -- Lets the attach skip its scan.
        execute format('alter table log.%I add constraint %I check (class = %L and position >= %s and position < %s)',
            leaf, leaf || '_bounds', class, next_low, next_low + size);
        execute format('alter table log.%I attach partition log.%I for values from (%s) to (%s)',
            class, leaf, next_low, next_low + size);
        execute format('alter table log.%I drop constraint %I', leaf, leaf || '_bounds');
    end loop;
    insert into log.segments (low, high) values (next_low, next_low + size);
    return next_low;
end
$$;

select log.add_segment(1000000);
select log.add_segment(1000000);
select log.add_segment(1000000);

-- The highest position given out. Only for a committer that takes over: it names the leaves, newest first, for a plan
-- over the parent would have to open every one of them.
create function log.find_head() returns bigint
language plpgsql as $$
declare
    segment record;
    class text;
    found bigint;
    head bigint;
begin
    select floor into head from log.meta;
    for segment in select low, classes from log.segments order by low desc loop
        foreach class in array segment.classes loop
            execute format('select max(position) from log.%I', format('%s_%s', class, segment.low)) into found;
            head := greatest(head, found);
        end loop;
        exit when head >= segment.low;
    end loop;
    return head;
end
$$;
