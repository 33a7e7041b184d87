-- Runs, their leases, checkpoints, waits and signals, and shared values.
-- Times come from the server's clock: `clock_timestamp()` goes on while a statement waits.

-- name: create_run
-- $1 run, $2 service, $3 topology, $4 mode, $5 status, $6 whether it has ended, $7 the call,
-- $8 and $9 names and values of metadata. No row if the id is taken.
with new as (
    insert into {schema}.runs (
        run_id, service, topology, execution_mode, status,
        created_at, updated_at, ended_at, token, last_commit
    )
    select $1, $2, $3, $4, $5, t.now, t.now, case when $6 then t.now end,
        coalesce((select token from {schema}.run_tokens where run_id = $1), 0), $7
    from (select clock_timestamp() as now) t
    on conflict (run_id) do nothing
    returning *
), put as (
    insert into {schema}.run_metadata (seq, name, value)
    select new.seq, m.name, m.value
    from new, unnest($8::text[], $9::bytea[]) as m (name, value)
)
select new.*, $8::text[] as names, $9::bytea[] as values from new

-- name: last_commit
select last_commit from {schema}.runs where run_id = $1

-- name: runs
-- Conditions and order are appended.
select r.*, m.names, m.values
from {schema}.runs r
left join lateral (
    select array_agg(name order by name) as names, array_agg(value order by name) as values
    from {schema}.run_metadata where seq = r.seq
) m on true

-- name: run_seq
select seq from {schema}.runs where run_id = $1

-- name: lock_run
select seq, status, expires_at is null as is_free, last_commit
from {schema}.runs where run_id = $1 for update

-- name: lock_owned
-- $1 run, $2 token, $3 the call: no row unless the lease is the run's, or the call has been made.
select seq, status, last_commit is not distinct from $3 as is_made
from {schema}.runs
where run_id = $1
    and ((token = $2 and expires_at is not null) or last_commit is not distinct from $3)
for update

-- name: set_status
-- $2 status, $3 error, $4 duration, $5 whether the run is taken up again, $6 whether it ends.
update {schema}.runs set
    status = $2,
    updated_at = clock_timestamp(),
    error = case when $5 then $3 else coalesce($3, error) end,
    duration_ms = case when $5 then $4 else coalesce($4, duration_ms) end,
    ended_at = case when $5 then null when $6 then clock_timestamp() else ended_at end,
    cancel_requested = case when $6 then null else cancel_requested end
where seq = $1

-- name: reschedule
-- Note from when on the run may be claimed, after its status, lease or waits have changed.
update {schema}.runs r set due_at = case
    when owner is null or status in ('completed', 'failed', 'cancelled') then null
    when expires_at is not null then expires_at
    when status <> 'waiting' then null
    when cancel_requested is not null or exists (
        select 1 from {schema}.run_waits w
        where w.seq = r.seq and w.is_parked_for and w.state = 'answered'
    ) then '-infinity'
    else (
        select min(deadline) from {schema}.run_waits w where w.seq = r.seq and w.is_parked_for
    )
end
where seq = $1

-- name: put_metadata
insert into {schema}.run_metadata (seq, name, value)
select $1, m.name, m.value from unnest($2::text[], $3::bytea[]) as m (name, value)
on conflict (seq, name) do update set value = excluded.value

-- name: append_events
-- $1 run, $2 how many, $3 to $5 their types, times and data. No row if there is no such run.
with run as (
    update {schema}.runs set last_event = last_event + $2 where run_id = $1
    returning seq, last_event
), put as (
    insert into {schema}.run_events (seq, number, type, at, data)
    select run.seq, run.last_event - $2 + e.place, e.type, e.at, e.data
    from run, unnest($3::text[], $4::text[], $5::bytea[])
        with ordinality as e (type, at, data, place)
)
select last_event from run

-- name: read_events
select number, type, at, data from {schema}.run_events
where seq = (select seq from {schema}.runs where run_id = $1) and number > $2
order by number limit $3

-- name: delete_runs
-- $1 runs. Their tokens stay, so that no later one of the same id is given twice.
with gone as (
    delete from {schema}.runs where run_id = any($1::uuid[]) returning seq, run_id, token
), events as (
    delete from {schema}.run_events where seq in (select seq from gone)
), entries as (
    delete from {schema}.run_entries where seq in (select seq from gone)
), kept as (
    insert into {schema}.run_tokens (run_id, token)
    select run_id, token from gone where token > 0
    on conflict (run_id) do update set token = greatest(run_tokens.token, excluded.token)
)
select count(*) from gone

-- name: acquire_lease
-- $1 run, $2 owner, $3 seconds, $4 token that may be ended, $5 the call. No row if it is held.
update {schema}.runs set
    owner = $2,
    token = token + 1,
    expires_at = clock_timestamp() + $3::double precision * interval '1 second',
    due_at = case
        when ended_at is null
        then clock_timestamp() + $3::double precision * interval '1 second'
    end,
    last_commit = $5
where run_id = $1
    and (expires_at is null or expires_at <= clock_timestamp() or token = $4)
    and last_commit is distinct from $5
returning run_id, owner, token, expires_at, cancel_requested

-- name: get_lease
select run_id, owner, token, expires_at, cancel_requested, last_commit
from {schema}.runs where run_id = $1

-- name: list_leases
select run_id, owner, token, expires_at, cancel_requested
from {schema}.runs
where expires_at is not null and run_id > $1
order by run_id limit $2

-- name: renew_lease
update {schema}.runs set
    expires_at = clock_timestamp() + $3::double precision * interval '1 second',
    due_at = case
        when ended_at is null
        then clock_timestamp() + $3::double precision * interval '1 second'
    end
where run_id = $1 and token = $2 and expires_at is not null
returning run_id, owner, token, expires_at, cancel_requested

-- name: release_lease
update {schema}.runs set expires_at = null
where run_id = $1 and token = $2 and expires_at is not null
returning seq

-- name: end_lease
update {schema}.runs set expires_at = null, last_commit = $2 where seq = $1

-- name: claim_run
-- $1 owner, $2 seconds. Runs that others are at just now are passed over, not waited for.
with chosen as (
    select seq from {schema}.runs
    where due_at <= statement_timestamp()
    order by due_at limit 1
    for update skip locked
)
update {schema}.runs r set
    owner = $1,
    token = token + 1,
    expires_at = clock_timestamp() + $2::double precision * interval '1 second',
    due_at = clock_timestamp() + $2::double precision * interval '1 second'
from chosen where r.seq = chosen.seq
returning r.run_id, r.owner, r.token, r.expires_at, r.cancel_requested

-- name: request_cancel
update {schema}.runs set cancel_requested = coalesce(cancel_requested, $2)
where run_id = $1 and ended_at is null
returning seq

-- name: commit
-- $1 run, $2 token, $3 the call, $4 how many events, $5 keys to remove, $6 and $7 keys and values
-- to write, $8 to $10 types, times and data of events. No row unless the lease is the run's, or if
-- the call has been made.
with owned as (
    update {schema}.runs set last_event = last_event + $4, last_commit = $3
    where run_id = $1 and token = $2 and expires_at is not null
        and last_commit is distinct from $3
    returning seq, last_event - $4 as last_event
), removed as (
    delete from {schema}.run_entries e using owned
    where e.seq = owned.seq and e.key = any($5::bytea[])
), written as (
    insert into {schema}.run_entries (seq, key, value)
    select owned.seq, e.key, e.value
    from owned, unnest($6::bytea[], $7::bytea[]) with ordinality as e (key, value, place)
    order by e.place
    on conflict (seq, key) do update set number = excluded.number, value = excluded.value
), logged as (
    insert into {schema}.run_events (seq, number, type, at, data)
    select owned.seq, owned.last_event + e.place, e.type, e.at, e.data
    from owned, unnest($8::text[], $9::text[], $10::bytea[])
        with ordinality as e (type, at, data, place)
)
select seq from owned

-- name: commit_entry
-- One entry and nothing else: $3 key, $4 value. It may be made again, so it leaves no mark.
with owned as (
    select seq from {schema}.runs
    where run_id = $1 and token = $2 and expires_at is not null
    for no key update
)
insert into {schema}.run_entries (seq, key, value)
select seq, $3, $4 from owned
on conflict (seq, key) do update set number = excluded.number, value = excluded.value
returning seq

-- name: commit_step
-- One entry and some events, which is what most commits are: $4 how many events, $5 key, $6 value,
-- $7 to $9 as $8 to $10 of `commit`.
with owned as (
    update {schema}.runs set last_event = last_event + $4, last_commit = $3
    where run_id = $1 and token = $2 and expires_at is not null
        and last_commit is distinct from $3
    returning seq, last_event - $4 as last_event
), written as (
    insert into {schema}.run_entries (seq, key, value)
    select seq, $5, $6 from owned
    on conflict (seq, key) do update set number = excluded.number, value = excluded.value
), logged as (
    insert into {schema}.run_events (seq, number, type, at, data)
    select owned.seq, owned.last_event + e.place, e.type, e.at, e.data
    from owned, unnest($7::text[], $8::text[], $9::bytea[])
        with ordinality as e (type, at, data, place)
)
select seq from owned

-- name: load_entries
select number, key, value from {schema}.run_entries
where seq = (select seq from {schema}.runs where run_id = $1) and number > $2
order by number limit $3

-- name: runs_to_prune
-- $1 ended before, $2 statuses, $3 how many.
select run_id from {schema}.runs
where ended_at < $1 and expires_at is null and status = any($2::text[])
order by ended_at, seq limit $3

-- name: lock_runs_to_prune
select run_id from {schema}.runs
where ended_at < $1 and expires_at is null and status = any($2::text[])
order by ended_at, seq limit $3
for update skip locked

-- name: find_wait
select wait_id, stage, name, created_at, deadline, state, value
from {schema}.run_waits where seq = $1 and wait_id = $2

-- name: list_waits
select wait_id, stage, name, created_at, deadline, state, value
from {schema}.run_waits where seq = (select seq from {schema}.runs where run_id = $1)
order by number

-- name: take_kept_signal
update {schema}.run_signals s set value = null
from (
    select seq, number, value from {schema}.run_signals
    where seq = $1 and name = $2 and value is not null order by number limit 1
) kept
where s.seq = kept.seq and s.number = kept.number
returning kept.value

-- name: add_wait
-- $1 run, $2 wait, $3 stage, $4 name, $5 seconds, $6 answer.
insert into {schema}.run_waits (seq, wait_id, stage, name, created_at, deadline, state, value)
select $1, $2, $3, $4, t.now, t.now + $5::double precision * interval '1 second',
    case when $6::bytea is null then 'open' else 'answered' end, $6
from (select clock_timestamp() as now) t
returning wait_id, stage, name, created_at, deadline, state, value

-- name: expire_wait
update {schema}.run_waits set state = 'timed_out'
where seq = $1 and wait_id = $2 and state = 'open'

-- name: count_open_waits
select count(*) from {schema}.run_waits
where seq = $1 and wait_id = any($2::bytea[]) and state = 'open'

-- name: park_for
update {schema}.run_waits set is_parked_for = wait_id = any($2::bytea[])
where seq = $1 and is_parked_for is distinct from (wait_id = any($2::bytea[]))

-- name: find_signal
select wait_id from {schema}.run_signals where seq = $1 and signal_id = $2

-- name: answer_wait
update {schema}.run_waits w set state = 'answered', value = $3
from (
    select seq, wait_id from {schema}.run_waits
    where seq = $1 and name = $2 and state = 'open' order by number limit 1
) oldest
where w.seq = oldest.seq and w.wait_id = oldest.wait_id
returning w.wait_id

-- name: add_signal
insert into {schema}.run_signals (seq, name, signal_id, wait_id, value)
values ($1, $2, $3, $4, $5)

-- name: read_value
select key, version, value, updated_at from {schema}.shared_values
where namespace = $1 and key = $2

-- name: write_any
-- $1 namespace, $2 key, $3 value.
insert into {schema}.shared_values as v (namespace, key, version, value, updated_at)
values ($1, $2, 1, $3, clock_timestamp())
on conflict (namespace, key) do update
set version = v.version + 1, value = excluded.value, updated_at = excluded.updated_at
returning version, updated_at

-- name: write_new
-- No row if there is a value; a row of one that was deleted is none.
insert into {schema}.shared_values as v (namespace, key, version, value, updated_at)
values ($1, $2, 1, $3, clock_timestamp())
on conflict (namespace, key) do update
set version = v.version + 1, value = excluded.value, updated_at = excluded.updated_at
where v.value is null
returning version, updated_at

-- name: write_over
-- $4 version expected. No row if it has another one.
update {schema}.shared_values
set version = version + 1, value = $3, updated_at = clock_timestamp()
where namespace = $1 and key = $2 and value is not null and version = $4
returning version, updated_at

-- name: delete_value
-- $3 version expected; none for any.
update {schema}.shared_values set value = null
where namespace = $1 and key = $2 and value is not null
    and version = coalesce($3, version)
returning version

-- name: list_values
-- $2 from, $3 below, $4 after; the last two may be null.
select key, version, value, updated_at from {schema}.shared_values
where namespace = $1 and value is not null and key >= $2
    and ($3::bytea is null or key < $3) and ($4::bytea is null or key > $4)
order by key limit $5
