-- Lines that are left out: of a file, of dates far from the log, of the whole log. A part of
-- `int_log_anomalies`, which says what of it is an error.
{{ config(materialized='view') }}

with

line_counts as (

    -- that a line is far from the log is known by its date only
    select
        line_counts.source_file,
        line_counts.event_date,
        line_counts.loaded_at,
        line_counts.lines,
        if(dates.is_in_log_period, null, coalesce(line_counts.reject_reason, 'far_from_the_log'))
            as reject_reason
    from {{ ref('stg_line_counts') }} as line_counts
    left join {{ ref('log_calendar') }} as dates on line_counts.event_date = dates.event_date
    -- to forget a user is no fault of a log
    where coalesce(line_counts.reject_reason, '') <> 'forgotten_user'

),

reason_counts as (

    -- of each file and, without a name, of all
    select
        source_file,
        sum(lines) as lines,
        sum(if(event_date is null, lines, 0)) as unreadable_lines,
        sum(if(reject_reason is null, 0, lines)) as rejected_lines,
        format_number(sum(lines), 0) || ' ' || reject_reason as reason,
        min(loaded_at) as loaded_at
    from line_counts
    group by grouping sets ((source_file, reject_reason), (reject_reason))

),

counts as (

    select
        source_file,
        min(loaded_at) as loaded_at,
        sum(lines) as lines,
        sum(unreadable_lines) = sum(lines) as is_unreadable,
        sum(rejected_lines) as rejected_lines,
        array_join(
            array_sort(
                collect_list(if(rejected_lines > 0, struct(-lines as minus, reason), null))
            ).reason,
            ', '
        ) as reasons
    from reason_counts
    group by source_file

),

file_findings as (

    -- a file of which no line can be read is an error of any size
    select
        'rejected_lines' as finding,
        cast(null as date) as event_date,
        source_file,
        loaded_at,
        is_unreadable or rejected_lines > lines * {{ var('rejected_error_share') }} as is_extreme,
        is_unreadable or lines >= {{ var('usual_lines_min') }} as is_large,
        {{ is_one_of('source_file', var('accepted_files')) }} as is_accepted,
        concat(
            source_file, ': ', format_number(rejected_lines, 0), ' of ', format_number(lines, 0),
            ' lines rejected (', round(100 * rejected_lines / lines, 1), ' %): ', reasons
        ) as message
    from counts
    where source_file is not null and rejected_lines > lines * {{ var('rejected_warn_share') }}

),

no_events as (

    select
        'no_events' as finding,
        cast(null as date) as event_date,
        cast(null as string) as source_file,
        cast(null as timestamp) as loaded_at,
        true as is_extreme,
        true as is_large,
        false as is_accepted,
        concat(
            'no event in the log: ', format_number(rejected_lines, 0), ' of ',
            format_number(lines, 0), ' line(s) rejected', coalesce(': ' || reasons, '')
        ) as message
    from (
        -- files without lines have no counts
        select
            coalesce(sum(lines), 0) as lines,
            coalesce(sum(rejected_lines), 0) as rejected_lines,
            max(reasons) as reasons
        from counts
        where source_file is null
    ) as whole_log
    where rejected_lines = lines

),

log_period as (

    select
        min(event_date) as first_event_date,
        max(event_date) as last_event_date
    from {{ ref('log_calendar') }}
    where is_in_log_period

),

far_dates as (

    select
        'far_from_the_log' as finding,
        dates.event_date,
        cast(null as string) as source_file,
        cast(null as timestamp) as loaded_at,
        false as is_extreme,
        false as is_large,
        false as is_accepted,
        concat(
            dates.event_date, ': ', format_number(dates.accepted_lines, 0),
            ' line(s) far from the log, which is ', log_period.first_event_date, ' to ',
            log_period.last_event_date, ' without them'
        ) as message
    from {{ ref('log_calendar') }} as dates
    cross join log_period
    where not dates.is_in_log_period and not {{ is_accepted_date('dates.event_date') }}

),

findings as (

    select * from file_findings
    union all
    select * from no_events
    union all
    select * from far_dates

)

select * from findings
