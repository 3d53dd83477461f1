-- What the scripts of an app may call though it is not on the public internet. It opens the network that the instance runs
-- in, so it is not the app's own to say.
create table state.http_exception (
    app_id uuid not null references state.app (id) on delete cascade,
    -- A host or a network, maybe with a port, in the one way it is written: `nas.lan:5000`, `192.168.0.0/24`.
    target text not null,
    created_at timestamptz not null,
    position bigint not null,
    primary key (app_id, target),
    constraint http_exception_target_bounded check (length(target) between 1 and 300)
);
