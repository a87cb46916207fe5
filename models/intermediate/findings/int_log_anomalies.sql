-- A view over small tables, but for the one look at pages, plans and users. The test
-- `log_anomalies` reads it for the dates and files of a build. Thresholds are vars, see
-- dbt_project.yml.
{{ config(materialized='view') }}

with

no_users as (

    select sum(staged_events) as events
    from {{ ref('ingested_files') }}
    where not exists (select user_id from {{ ref('fct_sessions') }})
    having sum(staged_events) > 0

),

events as (

    select
        event_date,
        user_id is null as is_without_user,
        case when page_category = 'unknown' then page end as unknown_page,
        -- a visitor without a user may have no plan
        case
            when level in ('paid', 'free') or level is null and user_id is null then null
            else coalesce(level, 'none')
        end as unknown_plan
    from {{ ref('stg_events') }}

),

event_groups as (

    select
        event_date,
        is_without_user,
        unknown_page,
        unknown_plan,
        count(*) as events
    from events
    group by event_date, is_without_user, unknown_page, unknown_plan

),

event_dates as (

    select
        event_date,
        sum(events) as events,
        sum(if(unknown_page is null, 0, events)) as unknown_page_events,
        sum(if(unknown_plan is null, 0, events)) as unknown_plan_events,
        sum(if(is_without_user, events, 0)) as events_without_user,
        array_join(slice(array_sort(collect_set(unknown_page)), 1, 3), ', ') as unknown_pages,
        array_join(slice(array_sort(collect_set(unknown_plan)), 1, 3), ', ') as unknown_plans
    from event_groups
    group by event_date

),

shares as (

    select
        'unknown_pages' as finding,
        event_date,
        events,
        unknown_page_events as odd_events,
        {{ var('unknown_pages_warn_share') }} as warn_share,
        {{ var('unknown_pages_error_share') }} as error_share,
        'on pages that the catalogue lacks: ' || unknown_pages as what
    from event_dates
    union all
    select
        'unknown_plans' as finding,
        event_date,
        events,
        unknown_plan_events as odd_events,
        {{ var('unknown_plans_warn_share') }} as warn_share,
        {{ var('unknown_plans_error_share') }} as error_share,
        'on plans that are neither paid nor free: ' || unknown_plans as what
    from event_dates
    union all
    select
        'without_user' as finding,
        event_date,
        events,
        events_without_user as odd_events,
        {{ var('without_user_warn_share') }} as warn_share,
        {{ var('without_user_error_share') }} as error_share,
        'without a user: no user id, or neither registration nor gender' as what
    from event_dates

),

share_findings as (

    select
        finding,
        event_date,
        odd_events > events * error_share as is_extreme,
        events >= {{ var('usual_lines_min') }} as is_large,
        {{ is_accepted_date('event_date') }} as is_accepted,
        concat(
            event_date, ': ', format_number(odd_events, 0), ' of ', format_number(events, 0),
            ' events (', round(100 * odd_events / events, 1), ' %) ', what
        ) as message
    from shares
    where odd_events > events * warn_share

),

resumed_sessions as (

    select
        last_resumed_date as event_date,
        count(*) as sessions,
        max(struct(pause_seconds, user_id, session_id)) as longest
    from {{ ref('fct_sessions') }}
    where last_resumed_date is not null
    group by last_resumed_date

),

findings as (

    select
        finding,
        event_date,
        cast(null as string) as source_file,
        cast(null as timestamp) as loaded_at,
        is_extreme,
        is_large,
        is_accepted,
        message
    from {{ ref('int_volume_anomalies') }}
    union all
    select
        finding,
        event_date,
        cast(null as string) as source_file,
        cast(null as timestamp) as loaded_at,
        is_extreme,
        is_large,
        is_accepted,
        message
    from share_findings
    union all
    select
        'resumed_sessions' as finding,
        event_date,
        cast(null as string) as source_file,
        cast(null as timestamp) as loaded_at,
        false as is_extreme,
        false as is_large,
        false as is_accepted,
        concat(
            event_date, ': ', format_number(sessions, 0),
            ' session(s) go on after more than a day, such as session ', longest.session_id,
            ' of user ', longest.user_id, ' after ',
            format_number(longest.pause_seconds / 3600, 1), ' hours'
        ) as message
    from resumed_sessions
    union all
    select
        finding,
        event_date,
        source_file,
        loaded_at,
        is_extreme,
        is_large,
        is_accepted,
        message
    from {{ ref('int_rejection_anomalies') }}
    union all
    -- no log is too small to have a user
    select
        'no_users' as finding,
        cast(null as date) as event_date,
        cast(null as string) as source_file,
        cast(null as timestamp) as loaded_at,
        true as is_extreme,
        true as is_large,
        false as is_accepted,
        concat(
            'no user in the log: each of ', format_number(events, 0),
            ' event(s) lacks a user id, or registration and gender'
        ) as message
    from no_users

),

with_severity as (

    select
        finding,
        event_date,
        source_file,
        loaded_at,
        case when is_extreme and is_large and not is_accepted then 2 else 1 end as severity,
        message || if(is_extreme and is_large and is_accepted, ' (accepted)', '') as message
    from findings

)

select * from with_severity
