-- The one pass over the events that counts: sessions, user-days and users are sums of its rows.
-- Only whole numbers and timestamps are aggregated, so that Spark hashes instead of sorting, and
-- any order of the events gives the same row.
{{
    config(
        meta={'updated_by': 'days'},
        partition_by=['activity_date'],
    )
}}

with

events as (

    select
        user_id,
        session_id,
        event_date,
        event_at,
        page_category,
        is_paid,
        song_milliseconds,
        registered_at
    from {{ ref('stg_events') }}
    where user_id is not null and {{ in_changed('event_date') }}

),

session_days as (

    select
        user_id,
        session_id,
        event_date as activity_date,
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
        min(registered_at) as registered_at
    from events
    group by user_id, session_id, event_date

)

select * from session_days
