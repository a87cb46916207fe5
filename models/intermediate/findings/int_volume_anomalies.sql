-- Lines of a date against those of the dates before it: what is missing, too few or too many. A
-- part of `int_log_anomalies`, which says what of it is an error.
{{ config(materialized='view') }}

with

dates as (

    -- accepted dates are left out of the averages
    select
        event_date,
        is_complete,
        accepted_lines as lines,
        case when not {{ is_accepted_date('event_date') }} then accepted_lines end as usual_lines
    from {{ ref('log_calendar') }}
    where is_in_log_period

),

compared as (

    select
        event_date,
        is_complete,
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
    where is_complete and compared_dates >= 7

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

)

select * from volume_findings
