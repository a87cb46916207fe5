{{
    config(
        meta={'updated_by': 'days'},
        partition_by=['change_date'],
    )
}}

with

events as (

    select
        user_id,
        session_id,
        event_at,
        event_date,
        page_category,
        level
    from {{ ref('stg_events') }}
    where
        user_id is not null
        and page_category in ('upgrade', 'downgrade', 'cancellation')
        and {{ in_changed('event_date') }}

),

changes as (

    -- one user's pages of one kind at one instant are one change, however often the page is sent
    select
        user_id,
        event_at as changed_at,
        page_category as change_type,
        event_date as change_date,
        min(session_id) as session_id,
        bool_or(coalesce(level = 'paid', false)) as is_paid_on_page
    from events
    group by user_id, event_at, event_date, page_category

)

select * from changes
