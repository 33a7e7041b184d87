-- Events.

-- name: write
-- The batch and the note of it in one statement: what was lost with the connection is asked for.
with noted as (
    insert into {schema}.event_writers (writer, batch) values ($1, $2)
    on conflict (writer) do update set batch = excluded.batch, written_at = now()
)
insert into {schema}.events (type, recorded_at, pipeline_run_id, stage, data)
select type, recorded_at, pipeline_run_id, stage, data
from unnest($3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::json[]) with ordinality
    as given (type, recorded_at, pipeline_run_id, stage, data, place)
order by place

-- name: note
insert into {schema}.event_writers (writer, batch) values ($1, $2)
on conflict (writer) do update set batch = excluded.batch, written_at = now()

-- name: written
select batch from {schema}.event_writers where writer = $1

-- name: forget
-- Sinks that were never closed leave their row behind.
delete from {schema}.event_writers where writer = $1 or written_at < now() - interval '30 days'

-- name: read
select id, type, recorded_at, data from {schema}.events
where id > $1
and ($2::text is null or pipeline_run_id = $2)
and ($3::text is null or type = $3)
order by id limit $4

-- name: prune
delete from {schema}.events where recorded_at < $1
