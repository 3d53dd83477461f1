-- What is said of entries' past before the oldest part of the log that is left: found without reading all that there is of data.
create index data_snapshot on log.data (app_id, subject, position) where kind = 'kv.snapshot';
