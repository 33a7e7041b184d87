-- Decisions of routers.

-- name: record
insert into {schema}.routing_decisions
    (digest, decision_id, run_id, router, partition, route, reason)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (digest) do nothing

-- name: find
select * from {schema}.routing_decisions where digest = $1

-- name: prune
delete from {schema}.routing_decisions where decided_at < $1

-- name: forget
delete from {schema}.routing_decisions where decided_at < now() - $1::interval
