-- The beginnings of the hashes of sealed events, four bytes each in the order of their positions: a seal tells that something
-- below it was changed, these tell which event it was. They prove nothing, so they are no part of the log.
create table live.seal_marks (
    class text not null,
    -- The last position of the seal they belong to.
    up_to bigint not null,
    marks bytea not null,
    primary key (class, up_to)
);
-- Hashes cannot be compressed.
alter table live.seal_marks alter column marks set storage external;
