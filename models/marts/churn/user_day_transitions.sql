-- What a user does next says what kind of user it is. Every count belongs to the date of the
-- later event of a pair: that a session has ended is known only when the next one starts, so
-- no row knows more than its own date.
with

events as (

    select
        user_id,
        session_id,
        event_date,
        event_at,
        item_in_session,
        content_hash,
        page_category,
        is_paid
    from {{ ref('stg_events') }}
    where user_id is not null

),

pairs as (

    select
        user_id,
        event_date,
        event_at,
        page_category,
        is_paid,
        session_id is distinct from lag(session_id) over user_events as is_session_start,
        lag(event_at) over user_events as previous_event_at,
        lag(page_category) over user_events as previous_page_category,
        lag(is_paid) over user_events as was_paid
    from events
    window user_events as (
        partition by user_id
        order by event_at, session_id, item_in_session, content_hash
    )

),

flagged_pairs as (

    select
        user_id,
        event_date,
        event_at,
        page_category,
        is_session_start,
        previous_event_at,
        previous_page_category = 'song' and was_paid as follows_paid_song,
        previous_page_category = 'song' and not was_paid as follows_free_song,
        previous_page_category = 'advert' as follows_advert
    from pairs

),

transitions as (

    select
        user_id,
        event_date as activity_date,
        count_if(is_session_start) as session_starts,
        max(case when is_session_start then event_at end) as last_session_started_at,
        coalesce(
            sum(
                case
                    when is_session_start
                        then unix_seconds(event_at) - unix_seconds(previous_event_at)
                end
            ),
            0
        ) as idle_seconds,
        count_if(follows_paid_song) as events_after_song_paid,
        count_if(follows_free_song) as events_after_song_free,
        count_if(follows_paid_song and is_session_start) as session_ends_after_song_paid,
        count_if(follows_free_song and is_session_start) as session_ends_after_song_free,
        count_if(follows_advert and is_session_start) as session_ends_after_advert,
        count_if(follows_paid_song and not is_session_start and page_category = 'advert')
            as adverts_after_song_paid,
        count_if(follows_free_song and not is_session_start and page_category = 'advert')
            as adverts_after_song_free,
        count_if(follows_paid_song and not is_session_start and page_category = 'thumbs_up')
            as thumbs_up_after_song_paid,
        count_if(follows_free_song and not is_session_start and page_category = 'thumbs_up')
            as thumbs_up_after_song_free,
        count_if(follows_paid_song and not is_session_start and page_category = 'thumbs_down')
            as thumbs_down_after_song_paid,
        count_if(follows_free_song and not is_session_start and page_category = 'thumbs_down')
            as thumbs_down_after_song_free,
        count_if(follows_free_song and not is_session_start and page_category = 'upgrade_visit')
            as upgrade_visits_after_song_free,
        count_if(follows_paid_song and not is_session_start and page_category = 'downgrade_visit')
            as downgrade_visits_after_song_paid
    from flagged_pairs
    group by user_id, event_date

)

select * from transitions
