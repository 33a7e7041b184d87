-- Barriers of scatters. What is said of one follows from its row and from the sum of its counts,
-- which only ever grow: so it may be decided by whoever looks, and everybody decides the same.

-- name: create
insert into {schema}.scatter_barriers
    (digest, run_digest, barrier_id, threshold, mode, sealed, checkpoint)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (digest) do nothing
returning seq

-- name: lock
-- Those who insert, claim or cancel wait for each other; those who record wait for nobody.
select from {schema}.scatter_barriers where digest = $1 for no key update

-- name: look
select
    b.*,
    coalesce(c.completed, 0)::bigint as completed,
    coalesce(c.failed, 0)::bigint as failed,
    coalesce(c.late, 0)::bigint as late
from {schema}.scatter_barriers b
left join lateral (
    select sum(completed) as completed, sum(failed) as failed, sum(late) as late
    from {schema}.scatter_counts where barrier = b.seq
) c on true
where b.digest = $1

-- name: decide
update {schema}.scatter_barriers set status = $2 where seq = $1 and status = 'pending'

-- name: claimed
select count(*) from {schema}.scatter_claims c
where c.barrier = $1 and c.worker is not null and c.deadline > now()
and not exists (
    select from {schema}.scatter_outcomes o where o.barrier = c.barrier and o.number = c.number
)

-- name: add
insert into {schema}.scatter_items (barrier, number, identity, long_key)
select $1, $2 + place - 1, identity, long_key
from unnest($3::bytea[], $4::bytea[]) with ordinality as given (identity, long_key, place)
order by place
on conflict (barrier, identity) do nothing
returning number

-- name: count_known
select count(*) from {schema}.scatter_items where barrier = $1 and identity = any($2::bytea[])

-- name: note_added
update {schema}.scatter_barriers
set total = total + $2,
    duplicates = duplicates + $3,
    next_number = next_number + $4,
    checkpoint = coalesce($5, checkpoint),
    sealed = sealed or $6,
    last_insertion = $7,
    last_first = next_number
where seq = $1

-- name: added
select number from {schema}.scatter_items
where barrier = $1 and number >= $2 and number < $2 + $3
order by number

-- name: record
-- One statement is one transaction. Rows are written in the order of their numbers, so that
-- two who have keys in common never wait for each other in a circle.
with barrier as materialized (
    -- Against those who would delete it meanwhile.
    select seq from {schema}.scatter_barriers where digest = $1 for key share
), given as materialized (
    select g.state, g.outcome, g.place, i.number
    from unnest($2::bytea[], $3::smallint[], $4::bytea[]) with ordinality
        as g (identity, state, outcome, place)
    left join {schema}.scatter_items i
        on i.barrier = (select seq from barrier) and i.identity = g.identity
), kept as (
    insert into {schema}.scatter_outcomes as o (barrier, number, state, outcome)
    select (select seq from barrier), number, state, outcome from given
    where not exists (select from given as g where g.number is null)
    order by number
    on conflict (barrier, number) do update set state = 4 where o.state = 3
    returning number, state
), freed as (
    delete from {schema}.scatter_claims c using kept
    where c.barrier = (select seq from barrier) and c.number = kept.number
), counted as (
    insert into {schema}.scatter_counts as c (barrier, slot, completed, failed, late)
    select
        (select seq from barrier),
        pg_backend_pid() % 32,
        count(*) filter (where state = 1),
        count(*) filter (where state = 2),
        count(*) filter (where state = 4)
    from kept having count(*) > 0
    on conflict (barrier, slot) do update
    set completed = c.completed + excluded.completed,
        failed = c.failed + excluded.failed,
        late = c.late + excluded.late
)
select min(place) as missing from given where number is null

-- name: cancel
with ended as (
    insert into {schema}.scatter_outcomes (barrier, number, state)
    select i.barrier, i.number, 3 from {schema}.scatter_items i
    where i.barrier = $1 and not exists (
        select from {schema}.scatter_outcomes o where o.barrier = $1 and o.number = i.number
    )
    order by i.number
    on conflict (barrier, number) do nothing
    returning number
), freed as (
    delete from {schema}.scatter_claims where barrier = $1
)
update {schema}.scatter_barriers set cancelled = cancelled + (select count(*) from ended)
where seq = $1

-- name: outcomes
select o.number, coalesce(i.long_key, i.identity) as key, o.outcome
from {schema}.scatter_outcomes o
join {schema}.scatter_items i on i.barrier = o.barrier and i.number = o.number
where o.barrier = $1 and o.number >= $2 and o.state = $3
order by o.number
limit $4

-- name: claim
with barrier as materialized (
    select seq, unclaimed_from from {schema}.scatter_barriers where digest = $1
    for no key update
), again as materialized (
    select c.number from {schema}.scatter_claims c
    where c.barrier = (select seq from barrier) and c.deadline <= now()
    and not exists (
        select from {schema}.scatter_outcomes o
        where o.barrier = c.barrier and o.number = c.number
    )
    order by c.number limit $3
    for update skip locked
), fresh as materialized (
    select i.number from {schema}.scatter_items i
    where i.barrier = (select seq from barrier)
    and i.number >= (select unclaimed_from from barrier)
    and not exists (
        select from {schema}.scatter_outcomes o
        where o.barrier = i.barrier and o.number = i.number
    )
    order by i.number limit $3 - (select count(*) from again)
), taken as (
    insert into {schema}.scatter_claims (barrier, number, worker, deadline)
    select (select seq from barrier), number, $2, now() + $4 * interval '1 second'
    from (select number from again union all select number from fresh) as free
    order by number
    on conflict (barrier, number) do update
    set worker = excluded.worker, deadline = excluded.deadline
    returning number
), next as (
    -- If there were fewer than asked for, none that this statement can see is left.
    select 1 + case
        when (select count(*) from fresh) < $3 - (select count(*) from again)
        then (select max(number) from {schema}.scatter_items where barrier = (select seq from barrier))
        else (select max(number) from fresh)
    end as number
), moved as (
    update {schema}.scatter_barriers b set unclaimed_from = next.number
    from next where b.digest = $1 and b.unclaimed_from < next.number
)
select i.number, coalesce(i.long_key, i.identity) as key
from taken join {schema}.scatter_items i
    on i.barrier = (select seq from barrier) and i.number = taken.number
order by i.number

-- name: renew
update {schema}.scatter_claims c set deadline = now() + $4 * interval '1 second'
from {schema}.scatter_barriers b, {schema}.scatter_items i
where b.digest = $1
and i.barrier = b.seq and i.identity = any($3::bytea[])
and c.barrier = i.barrier and c.number = i.number and c.worker = $2
returning i.identity

-- name: release
update {schema}.scatter_claims c set worker = null, deadline = '-infinity'
from {schema}.scatter_barriers b
where b.digest = $1 and c.barrier = b.seq and c.worker = $2
and ($3::bytea[] is null or c.number in (
    select i.number from {schema}.scatter_items i
    where i.barrier = b.seq and i.identity = any($3)
))
returning c.number

-- name: delete
delete from {schema}.scatter_barriers where digest = $1 returning seq

-- name: delete_run
delete from {schema}.scatter_barriers where run_digest = $1 returning seq

-- name: delete_items
delete from {schema}.scatter_items where barrier = any($1::bigint[])

-- name: delete_outcomes
delete from {schema}.scatter_outcomes where barrier = any($1::bigint[])

-- name: delete_counts
delete from {schema}.scatter_counts where barrier = any($1::bigint[])

-- name: delete_claims
delete from {schema}.scatter_claims where barrier = any($1::bigint[])
