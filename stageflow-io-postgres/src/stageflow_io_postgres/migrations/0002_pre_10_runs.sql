-- Pruning goes by age and, among runs of one age, by number; runs that go on have no age.
create index runs_by_age on {schema}.runs (ended_at, seq) where ended_at is not null;

-- Every commit rewrites the row of its run: vacuum has to come sooner than it does by default.
alter table {schema}.runs set (
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.1
);

-- For people: how it is with each run, and how much is kept of it.
create view {schema}.run_overview as
select
    r.run_id,
    r.service,
    r.topology,
    r.status,
    r.owner,
    r.expires_at is not null as is_owned,
    r.expires_at < now() as is_overdue,
    r.created_at,
    r.updated_at,
    r.ended_at,
    r.last_event as events,
    (select count(*) from {schema}.run_entries e where e.seq = r.seq) as entries,
    (select count(*) from {schema}.run_waits w where w.seq = r.seq and w.state = 'open') as waits
from {schema}.runs r;
