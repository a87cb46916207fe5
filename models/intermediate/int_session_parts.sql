-- The one pass over the events that counts: sessions, user-days and users are made of its rows.
-- Only whole numbers and timestamps are aggregated, so that Spark hashes instead of sorting, and
-- any order of the events gives the same row. Texts are keys or have a number.
{{
    config(
        meta={'updated_by': 'days'},
        partition_by=['activity_date'],
    )
}}

with

categories as (

    select posexplode(sort_array(collect_set(page_category))) as (category_number, page_category)
    from {{ ref('page_catalogue') }}

),

events as (

    -- one number for the order of a session's events that ends in the page: 11 bits for the item,
    -- 10 for the category, where the last number stands for `unknown`
    select
        stg_events.*,
        unix_millis(stg_events.event_at) * 2097152
        + least(coalesce(stg_events.item_in_session, 0), 2047) * 1024
        + coalesce(categories.category_number, 1023) as event_order
    from {{ ref('stg_events') }} as stg_events
    left join categories
        on stg_events.page_category = categories.page_category
    where stg_events.user_id is not null and {{ in_changed('stg_events.event_date') }}

),

counts as (

    select
        user_id,
        session_id,
        event_date as activity_date,
        registered_at,
        gender,
        location,
        user_agent,
        count(*) as events,
        count_if(is_paid) as paid_events,
        count_if(page_category = 'song') as songs,
        coalesce(sum(case when page_category = 'song' then song_milliseconds end), 0)
            as listening_milliseconds,
        count_if(page_category = 'thumbs_up') as thumbs_up,
        count_if(page_category = 'thumbs_down') as thumbs_down,
        count_if(page_category = 'playlist_add') as playlist_adds,
        count_if(page_category = 'friend_add') as friend_adds,
        count_if(page_category = 'advert') as adverts,
        count_if(page_category = 'error') as errors,
        count_if(page_category = 'home') as home_visits,
        count_if(page_category = 'help') as help_visits,
        count_if(page_category in ('settings', 'settings_save')) as settings_visits,
        count_if(page_category = 'logout') as logouts,
        count_if(page_category = 'upgrade_visit') as upgrade_visits,
        count_if(page_category = 'downgrade_visit') as downgrade_visits,
        count_if(page_category = 'upgrade') as upgrades,
        count_if(page_category = 'downgrade') as downgrades,
        count_if(page_category = 'cancellation') as cancellations,
        min(event_at) as first_event_at,
        min(case when is_paid then event_at end) as first_paid_event_at,
        min(case when not is_paid then event_at end) as first_free_event_at,
        max(event_at) as last_event_at,
        max(case when is_paid then event_at end) as last_paid_event_at,
        max(case when not is_paid then event_at end) as last_free_event_at,
        max(case when page_category = 'song' then event_at end) as last_song_at,
        max(case when page_category = 'advert' then event_at end) as last_advert_at,
        max(case when page_category = 'thumbs_up' then event_at end) as last_thumbs_up_at,
        max(case when page_category = 'thumbs_down' then event_at end) as last_thumbs_down_at,
        max(case when page_category = 'error' then event_at end) as last_error_at,
        max(case when page_category = 'home' then event_at end) as last_home_at,
        max(case when page_category = 'logout' then event_at end) as last_logout_at,
        max(case when page_category = 'upgrade_visit' then event_at end)
            as last_upgrade_visit_at,
        max(case when page_category = 'downgrade_visit' then event_at end)
            as last_downgrade_visit_at,
        min(event_order) as first_event_order,
        max(event_order) as last_event_order
    from events
    group by user_id, session_id, event_date, registered_at, gender, location, user_agent

),

parts as (

    select
        counts.*,
        coalesce(first_pages.page_category, 'unknown') as first_page_category,
        coalesce(last_pages.page_category, 'unknown') as last_page_category
    from counts
    left join categories as first_pages
        on counts.first_event_order % 1024 = first_pages.category_number
    left join categories as last_pages
        on counts.last_event_order % 1024 = last_pages.category_number

)

select * from parts
