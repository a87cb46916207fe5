-- Lines of the ledger are events, quarantined lines or duplicates; events with a user are in one
-- session, one user-day and one user each. One row per total that does not add up.
with

staged as (

    select
        count(*) as events,
        count(user_id) as user_events
    from {{ ref('stg_events') }}

),

rejected as (

    select count(*) as rejected_lines
    from {{ ref('stg_events_rejected') }}

),

ledger as (

    select
        sum(lines) as lines,
        sum(staged_events) as staged_events,
        sum(rejected_lines) as rejected_lines,
        sum(duplicate_lines) as duplicate_lines
    from {{ ref('ingested_files') }}

),

sessions as (

    select sum(events) as events from {{ ref('stg_sessions') }}

),

user_days as (

    select sum(events) as events from {{ ref('fct_user_days') }}

),

users as (

    select sum(events) as events from {{ ref('dim_users') }}

),

totals as (

    select
        'staged events' as total,
        staged.events as expected,
        ledger.staged_events as found
    from staged cross join ledger
    union all
    select
        'rejected lines' as total,
        rejected.rejected_lines as expected,
        ledger.rejected_lines as found
    from rejected cross join ledger
    union all
    select
        'lines' as total,
        ledger.lines as expected,
        ledger.staged_events + ledger.rejected_lines + ledger.duplicate_lines as found
    from ledger
    union all
    select
        'events in sessions' as total,
        staged.user_events as expected,
        coalesce(sessions.events, 0) as found
    from staged cross join sessions
    union all
    select
        'events in user-days' as total,
        staged.user_events as expected,
        coalesce(user_days.events, 0) as found
    from staged cross join user_days
    union all
    select
        'events of users' as total,
        staged.user_events as expected,
        coalesce(users.events, 0) as found
    from staged cross join users

)

select * from totals
where expected is distinct from found
