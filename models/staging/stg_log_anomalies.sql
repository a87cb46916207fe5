-- A view over small tables, but for the one look at the pages. The test `log_anomalies` reads it
-- for the dates and files of a build. Thresholds are vars, see dbt_project.yml.
{{ config(materialized='view') }}

with

calendar as (

    select last_complete_date
    from {{ ref('churn_calendar') }}

),

files as (

    select
        source_file,
        loaded_at,
        lines,
        rejected_lines,
        {{ is_one_of('source_file', var('accepted_files')) }} as is_accepted
    from {{ ref('ingested_files') }}

),

pages as (

    select
        event_date,
        case when page_category = 'unknown' then page end as unknown_page,
        count(*) as events
    from {{ ref('stg_events') }}
    group by event_date, case when page_category = 'unknown' then page end

),

dates as (

    -- an accepted date is no measure for others
    select
        event_date,
        accepted_lines as lines,
        case when not {{ is_accepted_date('event_date') }} then accepted_lines end as usual_lines
    from {{ ref('stg_event_dates') }}
    where is_in_log_period

),

compared as (

    select
        event_date,
        lines,
        lag(event_date) over (order by event_date) as previous_date,
        avg(usual_lines) over (
            order by event_date rows between 28 preceding and 1 preceding
        ) as usual_lines,
        count(usual_lines) over (
            order by event_date rows between 28 preceding and 1 preceding
        ) as compared_dates
    from dates

),

complete_dates as (

    -- a mean of less than a week says little
    select * from compared
    where compared_dates >= 7 and event_date <= (select last_complete_date from calendar)

),

volumes as (

    select
        'volume' as finding,
        event_date,
        lines,
        usual_lines
    from complete_dates
    union all
    -- the dates between one and the next; a log has no gap of more than a year
    select
        'missing_date' as finding,
        explode(sequence(date_add(previous_date, 1), date_sub(event_date, 1))) as event_date,
        0 as lines,
        usual_lines
    from complete_dates
    where event_date > date_add(previous_date, 1)

),

judged_volumes as (

    select
        *,
        lines * {{ var('volume_warn_ratio') }} < usual_lines
        or lines > usual_lines * {{ var('volume_warn_ratio') }} as is_odd,
        lines * {{ var('volume_error_ratio') }} < usual_lines
        or lines > usual_lines * {{ var('volume_error_ratio') }} as is_extreme,
        usual_lines >= {{ var('usual_lines_min') }} as is_large
    from volumes

),

volume_findings as (

    -- a small log is half or double by chance
    select
        finding,
        event_date,
        is_extreme,
        is_large,
        {{ is_accepted_date('event_date') }} as is_accepted,
        concat(
            event_date, ': ', if(lines = 0, 'no line', format_number(lines, 0) || ' line(s)'),
            ', where ', format_number(usual_lines, 0), ' are usual'
        ) as message
    from judged_volumes
    where
        is_large and is_odd
        or is_extreme and usual_lines >= {{ var('usual_lines_min') }} / 10

),

file_findings as (

    select
        source_file,
        loaded_at,
        rejected_lines > lines * {{ var('rejected_error_share') }} as is_extreme,
        lines >= {{ var('usual_lines_min') }} as is_large,
        is_accepted,
        concat(
            source_file, ': ', format_number(rejected_lines, 0), ' of ', format_number(lines, 0),
            ' lines rejected (', round(100 * rejected_lines / lines, 1), ' %)'
        ) as message
    from files
    where rejected_lines > lines * {{ var('rejected_warn_share') }}

),

page_dates as (

    select
        event_date,
        sum(events) as events,
        sum(case when unknown_page is null then 0 else events end) as unknown_events,
        array_join(slice(sort_array(collect_list(unknown_page)), 1, 3), ', ') as unknown_pages
    from pages
    group by event_date

),

page_findings as (

    select
        event_date,
        unknown_events > events * {{ var('unknown_pages_error_share') }} as is_extreme,
        events >= {{ var('usual_lines_min') }} as is_large,
        {{ is_accepted_date('event_date') }} as is_accepted,
        concat(
            event_date, ': ', format_number(unknown_events, 0), ' of ', format_number(events, 0),
            ' events (', round(100 * unknown_events / events, 1),
            ' %) on pages that the catalogue lacks: ', unknown_pages
        ) as message
    from page_dates
    where unknown_events > events * {{ var('unknown_pages_warn_share') }}

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
    from volume_findings
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
        'unknown_pages' as finding,
        event_date,
        cast(null as string) as source_file,
        cast(null as timestamp) as loaded_at,
        is_extreme,
        is_large,
        is_accepted,
        message
    from page_findings

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
