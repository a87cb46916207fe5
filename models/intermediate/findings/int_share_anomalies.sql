-- The one look of the findings at all events: at their pages, plans and users.
{{ config(materialized='view') }}

with

events as (

    select
        events.event_date,
        events.user_id is null as is_without_user,
        case when events.page_category = 'unknown' then events.page end as unknown_page,
        -- a visitor without a user may have no plan
        case
            when plans.level is not null or events.level is null and events.user_id is null
                then null
            else coalesce(events.level, 'none')
        end as unknown_plan
    from {{ ref('stg_events') }} as events
    left join {{ ref('plan_catalogue') }} as plans
        on events.level = plans.level

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
        'on plans that the catalogue lacks: ' || unknown_plans as what
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

)

select * from share_findings
