-- All findings in one form. The test `log_anomalies` reads them for the dates and files of a build.
-- Thresholds are vars, see dbt_project.yml.
{{ config(materialized='view') }}

with

no_users as (

    select sum(staged_events) as events
    from {{ ref('ingested_files') }}
    where not exists (select user_id from {{ ref('fct_sessions') }})
    having sum(staged_events) > 0

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
    from {{ ref('int_share_anomalies') }}
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
