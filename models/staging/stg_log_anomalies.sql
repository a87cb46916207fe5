-- A view over small tables, but for the one look at pages, plans and users. The test
-- `log_anomalies` reads it for the dates and files of a build. Thresholds are vars, see
-- dbt_project.yml.
{{ config(materialized='view') }}

with

files as (

    select
        source_file,
        loaded_at,
        lines,
        staged_events,
        rejected_lines,
        {{ is_one_of('source_file', var('accepted_files')) }} as is_accepted
    from {{ ref('ingested_files') }}

),

rejected as (

    -- that a line is years from the log is known by its date only
    select
        line_counts.source_file,
        coalesce(line_counts.reject_reason, 'years_from_the_log') as reject_reason,
        sum(line_counts.lines) as lines
    from {{ ref('stg_line_counts') }} as line_counts
    left join {{ ref('stg_event_dates') }} as event_dates
        on line_counts.event_date = event_dates.event_date
    where line_counts.reject_reason is not null or not event_dates.is_in_log_period
    group by line_counts.source_file, coalesce(line_counts.reject_reason, 'years_from_the_log')

),

reasons as (

    -- of each file, and of all: no file has no name
    select
        source_file,
        array_join(
            transform(
                array_sort(collect_list(struct(-lines as negative_lines, reject_reason))),
                reason -> format_number(-reason.negative_lines, 0) || ' ' || reason.reject_reason
            ),
            ', '
        ) as reasons
    from (
        select
            source_file,
            reject_reason,
            sum(lines) as lines
        from rejected
        group by grouping sets ((source_file, reject_reason), (reject_reason))
    ) as counted
    group by source_file

),

file_findings as (

    select
        files.source_file,
        files.loaded_at,
        files.rejected_lines > files.lines * {{ var('rejected_error_share') }} as is_extreme,
        files.lines >= {{ var('usual_lines_min') }} as is_large,
        files.is_accepted,
        concat(
            files.source_file, ': ', format_number(files.rejected_lines, 0), ' of ',
            format_number(files.lines, 0), ' lines rejected (',
            round(100 * files.rejected_lines / files.lines, 1), ' %): ', reasons.reasons
        ) as message
    from files
    inner join reasons on files.source_file = reasons.source_file
    where files.rejected_lines > files.lines * {{ var('rejected_warn_share') }}

),

log_findings as (

    -- of no size is a log without an event, or without a user, one to publish
    select
        if(events = 0, 'no_events', 'no_users') as finding,
        if(
            events = 0,
            concat(
                'no event in the log: ', format_number(rejected_lines, 0), ' of ',
                format_number(lines, 0), ' line(s) rejected',
                coalesce((
                    select ': ' || reasons from reasons
                    where source_file is null
                ), '')
            ),
            concat(
                'no user in the log: each of ', format_number(events, 0),
                ' event(s) lacks a user id, or registration and gender'
            )
        ) as message
    from (
        select
            coalesce(sum(staged_events), 0) as events,
            coalesce(sum(rejected_lines), 0) as rejected_lines,
            coalesce(sum(lines), 0) as lines
        from files
    ) as all_files
    where events = 0 or not exists (select user_id from {{ ref('stg_sessions') }})

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
    from {{ ref('stg_sessions') }}
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
    from {{ ref('stg_volume_anomalies') }}
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
        'rejected_lines' as finding,
        cast(null as date) as event_date,
        source_file,
        loaded_at,
        is_extreme,
        is_large,
        is_accepted,
        message
    from file_findings
    union all
    select
        finding,
        cast(null as date) as event_date,
        cast(null as string) as source_file,
        cast(null as timestamp) as loaded_at,
        true as is_extreme,
        true as is_large,
        false as is_accepted,
        message
    from log_findings

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
