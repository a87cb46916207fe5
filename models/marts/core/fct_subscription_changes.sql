{{
    config(
        meta={'updated_by': 'days'},
        partition_by=['change_date'],
    )
}}

with

events as (

    select
        events.user_id,
        events.session_id,
        events.event_at,
        events.event_date,
        events.page_category,
        coalesce(plans.is_paid, false) as is_paid_on_page
    from {{ ref('stg_events') }} as events
    left join {{ ref('plan_catalogue') }} as plans
        on events.level = plans.level
    where
        events.user_id is not null
        and events.page_category in ('upgrade', 'downgrade', 'cancellation')
        and {{ in_changed('events.event_date') }}

),

changes as (

    -- one user's pages of one kind at one instant are one change, however often the page is sent
    select
        user_id,
        event_at as changed_at,
        page_category as change_type,
        event_date as change_date,
        min(session_id) as session_id,
        bool_or(is_paid_on_page) as is_paid_on_page
    from events
    group by user_id, event_at, event_date, page_category

)

select * from changes
