-- Executions of parallel branches. Whoever changes one keeps its row until that is done.

-- name: create
insert into {schema}.parallel_executions (digest, run_digest, execution_id, mode)
values ($1, $2, $3, $4)
on conflict (digest) do nothing
returning seq

-- name: add_branches
insert into {schema}.parallel_branches (execution, number, name, required)
select $1, place, name, required
from unnest($2::text[], $3::boolean[]) with ordinality as given (name, required, place)

-- name: lock
select from {schema}.parallel_executions where digest = $1 for no key update

-- name: look
select e.seq, e.mode, e.scheduled, e.failed, e.result, b.names, b.statuses, b.outcomes
from {schema}.parallel_executions e
cross join lateral (
    select
        array_agg(name order by number) as names,
        array_agg(status order by number) as statuses,
        array_agg(outcome order by number) as outcomes
    from {schema}.parallel_branches where execution = e.seq
) b
where e.digest = $1

-- name: schedule
with execution as (
    update {schema}.parallel_executions set scheduled = true where digest = $1 returning seq
)
update {schema}.parallel_branches b set status = 'running'
from execution where b.execution = execution.seq and b.status = 'pending'

-- name: end_branch
with ended as (
    update {schema}.parallel_branches b set status = $3, outcome = $4
    from {schema}.parallel_executions e
    where e.digest = $1 and b.execution = e.seq and b.name = $2
    and b.status in ('pending', 'running')
    returning b.execution, b.required and $3 = 'failed' as fails
)
update {schema}.parallel_executions e set failed = true
from ended where e.seq = ended.execution and ended.fails

-- name: keep_result
update {schema}.parallel_executions set result = coalesce(result, $2)
where digest = $1 and not failed
returning result

-- name: delete_run
delete from {schema}.parallel_executions where run_digest = $1
