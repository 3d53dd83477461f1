-- How often a view was built anew from the log and put in the place of what was there: whoever folds it has to begin again, too.
alter table views.checkpoint add column built integer not null default 0;
